"""What the lead of a project wants to know, as numbers with intervals: progress, cost, raters, biases, agents.

Everything is read from the store; nothing here changes anything. A figure that has too little under it says so in place
of a number.
"""

from tercih.feedback.overview.agents import Standing, standings
from tercih.feedback.overview.answers import Answers, cost, progress, read
from tercih.feedback.overview.biases import biases
from tercih.feedback.overview.figures import Figure
from tercih.feedback.overview.learned import Learned, LeftOut, Point, learned, points
from tercih.feedback.overview.raters import RaterRow, rater_rows
from tercih.feedback.overview.report import QUALITY, Look, Report, look, work_out
from tercih.feedback.overview.without import without

__all__ = [
    "QUALITY",
    "Answers",
    "Figure",
    "Learned",
    "LeftOut",
    "Look",
    "Point",
    "RaterRow",
    "Report",
    "Standing",
    "biases",
    "cost",
    "learned",
    "look",
    "points",
    "progress",
    "rater_rows",
    "read",
    "standings",
    "without",
    "work_out",
]
