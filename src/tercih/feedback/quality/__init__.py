"""Who is reliable, and what do the voices add up to? Comparisons by several raters in, `Consensus` and reports out."""

from tercih.feedback.quality.agreement import Agreement, krippendorff
from tercih.feedback.quality.dawid_skene import DawidSkene, dawid_skene
from tercih.feedback.quality.majority import majority
from tercih.feedback.quality.raters import RaterReport

__all__ = ["Agreement", "DawidSkene", "RaterReport", "dawid_skene", "krippendorff", "majority"]
