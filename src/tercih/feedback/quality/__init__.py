"""Who is reliable, and which way do they lean? Judgements by several raters in, `Consensus` and reports out."""

from tercih.feedback.quality.agreement import Agreement, cohen_kappa, fleiss_kappa, krippendorff
from tercih.feedback.quality.bradley_terry import BradleyTerry, Reader, rater_bradley_terry
from tercih.feedback.quality.dawid_skene import Confusion, DawidSkene, dawid_skene, fit_dawid_skene
from tercih.feedback.quality.effects import Effect, anchoring, leave_out
from tercih.feedback.quality.glad import Glad, glad
from tercih.feedback.quality.gold import Drift, GoldAccuracy, cusum, gold_accuracy
from tercih.feedback.quality.intervals import Interval, clustered_mean
from tercih.feedback.quality.labels import Labels, pair_labels, plain_labels
from tercih.feedback.quality.mace import Mace, mace
from tercih.feedback.quality.majority import majority
from tercih.feedback.quality.plackett_luce import Strengths, pair_strengths, plackett_luce
from tercih.feedback.quality.raters import RaterReport, leaning
from tercih.feedback.quality.repeats import Repeats, repeated, repeats
from tercih.feedback.quality.strata import Coverage, Raked, coverage, effective_size, rake, raked, spread_of
from tercih.feedback.quality.votes import Votes, tabulate

__all__ = [
    "Agreement",
    "BradleyTerry",
    "Confusion",
    "Coverage",
    "DawidSkene",
    "Drift",
    "Effect",
    "Glad",
    "GoldAccuracy",
    "Interval",
    "Labels",
    "Mace",
    "Raked",
    "RaterReport",
    "Reader",
    "Repeats",
    "Strengths",
    "Votes",
    "anchoring",
    "clustered_mean",
    "cohen_kappa",
    "coverage",
    "cusum",
    "dawid_skene",
    "effective_size",
    "fit_dawid_skene",
    "fleiss_kappa",
    "glad",
    "gold_accuracy",
    "krippendorff",
    "leaning",
    "leave_out",
    "mace",
    "majority",
    "pair_labels",
    "pair_strengths",
    "plackett_luce",
    "plain_labels",
    "rake",
    "raked",
    "rater_bradley_terry",
    "repeated",
    "repeats",
    "spread_of",
    "tabulate",
]
