"""What the recipes on Anthropic's helpful and harmless pairs share: reading, splitting, and judging choices honestly.

The texts are offensive by nature; nothing here prints or saves one.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import AutoConfig

from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.evaluation.intervals import Estimate
from tercih.evaluation.reward_model import accuracy, calibration, length_sign
from tercih.feedback.simulated import Control
from tercih.models.language_model import LanguageModel, context_length
from tercih.models.load import LoRA, Memory, add_lora
from tercih.models.memory import check_installed
from tercih.models.reward_model import RewardModel
from tercih.progress import console
from tercih.recipes.scratch import ScratchModel, make_model, refuse
from tercih.records import Comparison, Consensus, Content, Text
from tercih.run import Run
from tercih.sources import hh
from tercih.sources.rows import SourceError

Floats = npt.NDArray[np.float64]

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}{{ '\n\nHuman: ' + message.content }}"
    "{% elif message.role == 'assistant' %}{{ '\n\nAssistant: ' + message.content + eos_token }}"
    "{% else %}{{ raise_exception('HH dialogues have users and assistants alone') }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt or messages[-1].role == 'user' %}{{ '\n\nAssistant:' }}{% endif %}"
)
"""The original form, for tokenizers without a chat template of their own. Every answer ends with EOS, in the history
too, and a last question invites its answer: turns then begin and end at token boundaries, even where a tokenizer joins
a full stop with the break after it, and a policy can learn where to end."""

TINY_PAIRS = 160
TINY_MODEL = ScratchModel(vocabulary=512, hidden=32, layers=1, heads=2, context=512)
CAVEAT = (
    "The model was made from scratch, so that the recipe runs offline: it has read nothing but these pairs and learns"
    " surface, such as length and single words. Give --model for a real one."
)
TEST_SPLIT = "Pairs of a TEST split were trained on: no score of this model may be reported as a result on HH."


def default_files() -> tuple[Path, ...]:
    folder = Path(os.environ.get("TERCIH_DATA", "../shared/data")) / "preferences" / "hh-rlhf"
    return tuple(sorted(folder.glob("*.json*")))


@dataclass(frozen=True, kw_only=True, slots=True)
class HHSettings:
    """What every recipe on HH pairs can vary."""

    model: str = ""
    """Folder or Hub name of the model to start from. Empty: a small Llama from scratch, which learns surface only."""
    data: tuple[Path, ...] = field(default_factory=default_files)
    """Files of pairs, in either form that circulates; .gz and .xz are unpacked."""
    seed: int = 0
    control: Control = "none"
    """"shuffled-labels" is the negative control: a coin decides which side of each training pair was preferred."""
    heldout: int = 800
    """Pairs to hold out (at most a fifth); no two sides of the split share the beginning of a conversation."""
    max_tokens: int = 512
    """Pairs of which a side is longer are left out, and how many is said."""
    pairs_per_step: int = 32
    micro_rows: int = 32
    """Responses in one forward pass; the gradient is the same whatever it is."""
    lora: int = 0
    """Rank of a low-rank adapter to train; 0 trains all weights."""
    lora_alpha: float = 32.0
    """The adapter's scale, over its rank."""
    memory: Memory = Memory()
    scratch: ScratchModel = ScratchModel(hidden=64, layers=1)
    """Size of the model where none is given."""
    tiny: bool = False
    """A minute's version of everything, to see that it runs."""

    def __post_init__(self) -> None:
        if self.model or self.tiny:
            refuse(self, ["scratch"], "--model" if self.model else "--tiny")
        if self.lora < 0:
            raise ValueError(f"lora must be >= 0, got {self.lora}")
        if not self.lora and self.lora_alpha != 32.0:
            raise ValueError("lora_alpha has no effect, because there is no lora; leave it out")
        self.memory.check(lora=self.lora)


@dataclass(frozen=True, kw_only=True, slots=True)
class HHData:
    """Pairs that fit the model `base`; sides are in random order, and `a.columns["file"]` says where a pair is from."""

    base: Path | str
    tokenizer: Tokenizer
    context: int
    train: list[Comparison]
    heldout: list[Comparison]

    def batches(self, settings: HHSettings, epochs: int) -> Offline[Comparison]:
        """Pairs of like length stand together in a batch, so that its micro-batches hold little padding."""
        return Offline(
            records=self.train,
            collate=lambda rows: collate.pairs(sorted(rows, key=length_of_pair), self.tokenizer, self.context),
            size=settings.pairs_per_step,
            epochs=epochs,
            seed=settings.seed,
        )


def read(settings: HHSettings) -> list[Comparison]:
    """All pairs, before anything is written; a model that cannot be used is said here too."""
    check_installed(settings.memory)
    if settings.model:
        Tokenizer.load(settings.model)
    records = read_pairs(settings.data, settings.seed)
    if not settings.tiny:
        return records
    chosen = np.random.default_rng((settings.seed, 3)).permutation(len(records))[:TINY_PAIRS]
    return [records[i] for i in sorted(chosen)]


def prepare(run: Run, settings: HHSettings, records: Sequence[Comparison]) -> HHData:
    """Split, make a model where none is given, and leave out what does not fit it."""
    train, heldout = split(records, settings.heldout, settings.seed)
    base: Path | str = settings.model or run.stage(
        "base", "Make a small model from scratch", lambda folder: _from_scratch(folder, train, settings)
    )
    tokenizer = with_template(Tokenizer.load(base))
    context = min(settings.max_tokens, context_length(AutoConfig.from_pretrained(str(base))))
    train = collate.fitting(train, collate.pairs, tokenizer, context, drop=True)
    heldout = collate.fitting(heldout, collate.pairs, tokenizer, context, drop=True)
    if not train or not heldout:
        raise SourceError(f"no pair fits into {context} tokens; give a larger --max-tokens or another model")
    if settings.control == "shuffled-labels":
        train = shuffled(train, settings.seed)
    return HHData(base=base, tokenizer=tokenizer, context=context, train=train, heldout=heldout)


def read_pairs(files: Sequence[Path], seed: int) -> list[Comparison]:
    """All usable pairs, the two sides of each in random order; the source warns of rows that are not usable."""
    if not files:
        raise SourceError(
            "there are no HH files: give --data FILE…, or set TERCIH_DATA to the folder of your data sets"
        )
    rng = np.random.default_rng((seed, 1))
    records = []
    for path in files:
        pairs = hh.read(path, skip_bad=True)
        console.print(f"{path.name}: {len(pairs)} pairs")
        records += [_placed(pair, path.name, first=rng.random() < 0.5) for pair in pairs]
    return records


def split(records: Sequence[Comparison], heldout: int, seed: int) -> tuple[list[Comparison], list[Comparison]]:
    """(train, held out) without a first message in common: later pairs of a conversation contain the earlier ones."""
    openings = sorted({_opening(record) for record in records})
    wanted = min(heldout, len(records) // 5)
    order = np.random.default_rng((seed, 2)).permutation(len(openings))
    place = {openings[i]: rank for rank, i in enumerate(order)}
    ranked = sorted(records, key=lambda record: place[_opening(record)])
    while 0 < wanted < len(ranked) and _opening(ranked[wanted]) == _opening(ranked[wanted - 1]):
        wanted += 1
    if not 0 < wanted < len(ranked):
        raise SourceError(f"{len(records)} pairs cannot be split into training and held-out conversations; give more")
    return ranked[wanted:], ranked[:wanted]


def shuffled(records: Sequence[Comparison], seed: int) -> list[Comparison]:
    """The negative control: every label is a coin's."""
    rng = np.random.default_rng((seed, 4))
    return [replace(record, answer="a" if rng.random() < 0.5 else "b") for record in records]


def with_template(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with its own chat template, or with HH's original form where it has none."""
    if tokenizer.hf.chat_template is not None:
        return tokenizer
    tokenizer.hf.chat_template = TEMPLATE
    return Tokenizer(tokenizer.hf, tokenizer.name)


def learning_rate(settings: HHSettings, scratch: float, whole: float, adapter: float) -> float:
    """What suits a model from scratch, all weights of a pre-trained one, and an adapter, differs by orders."""
    return scratch if not settings.model else adapter if settings.lora else whole


def adapt(model: LanguageModel | RewardModel, settings: HHSettings) -> None:
    if settings.lora:
        add_lora(model, LoRA(rank=settings.lora, alpha=settings.lora_alpha))


def judge(margin: Floats, data: HHData) -> dict[str, Any]:
    """Accuracy on held-out pairs, all and by file, always beside that of a rule that only looks at length.

    `margin` [N] is how much better each `a` is than `b` in the model's eyes. Whether the rule prefers the longer or
    the shorter answer is fitted to the training pairs of each file. `by_length` is how often the model agrees with it.
    """
    target = np.array([float(record.answer == "a") for record in data.heldout])
    file = np.array([_file(record) for record in data.heldout])
    signs = {name: _length_sign(name, data.train) for name in sorted(set(file.tolist()))}
    rule = np.array([signs[_file(r)] * (letters(r.a.completion) - letters(r.b.completion)) for r in data.heldout])
    groups = {"all": np.ones(len(file), dtype=bool)} | {name: file == name for name in signs}
    return {
        "groups": {
            name: {
                "accuracy": accuracy(margin[here], target[here]).as_dict(),
                "length_baseline": accuracy(rule[here], target[here]).as_dict(),
                "by_length": float((np.sign(margin[here]) == np.sign(rule[here])).mean()),
            }
            for name, here in groups.items()
        },
        "calibration": calibration(0.5 * (1 + np.tanh(margin / 2)), target).as_dict(),
    }


def summary_of(judged: dict[str, Any], settings: HHSettings, data: HHData) -> dict[str, Any]:
    """The part of summary.json that both recipes share; says what keeps the numbers from being results."""
    everything = judged["groups"]["all"]
    notes = [CAVEAT] if not settings.model else []
    notes += [TEST_SPLIT] if any("test" in path.name for path in settings.data) else []
    return {
        "reward_model": {
            "accuracy": everything["accuracy"],
            "length_baseline": everything["length_baseline"],
            "ece": judged["calibration"]["ece"],
        },
        "groups": judged["groups"],
        "pairs": {"train": len(data.train), "heldout": len(data.heldout)},
        "notes": notes,
        "seed": settings.seed,
        "control": settings.control,
    }


def announce(summary: dict[str, Any], run: Run) -> None:
    console.rule("[bold]What came out", align="left")
    for name, row in summary["groups"].items():
        right, length = Estimate(**row["accuracy"]), Estimate(**row["length_baseline"])
        console.print(
            f"{name:<32} {percent(right)} of {right.n} held-out pairs; by length alone {percent(length)};"
            f" the two agree on {100 * row['by_length']:.0f} %"
        )
    for note in summary["notes"]:
        console.print(note)
    console.print(f"\nReport: {run.folder / 'report.html'}")


def percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} % [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def letters(content: Content) -> int:
    return len(content) if isinstance(content, str) else sum(len(message.content) for message in content)


def length_of_pair(record: Comparison | Consensus) -> int:
    return letters(record.a.prompt) + max(letters(record.a.completion), letters(record.b.completion))


def _from_scratch(folder: Path, train: Sequence[Comparison], settings: HHSettings) -> str:
    texts = [m.content for r in train for side in (r.a.prompt, r.a.completion, r.b.completion) for m in side]  # type: ignore[union-attr]
    size = TINY_MODEL if settings.tiny else settings.scratch
    model = make_model(folder, texts, size, settings.seed, chat=TEMPLATE)
    return f"{sum(p.numel() for p in model.parameters()):,} random parameters, {model.config.vocab_size} tokens"


def _placed(pair: Comparison, file: str, *, first: bool) -> Comparison:
    """Sources put the chosen side first; a model or a measure that leans to one side must not profit from that."""
    a, b = (replace(item, columns={"file": file}) for item in (pair.a, pair.b))
    return replace(pair, a=a, b=b) if first else replace(pair, a=b, b=a, answer="b")


def _opening(record: Comparison) -> str:
    prompt = record.a.prompt
    return prompt if isinstance(prompt, str) else prompt[0].content


def _file(record: Comparison) -> str:
    return str(record.a.columns["file"])


def _length_sign(file: str, train: Sequence[Comparison]) -> int:
    rows = [record for record in train if _file(record) == file] or train
    lengths = [(letters(r.a.completion), letters(r.b.completion)) for r in rows]
    return length_sign([a for a, _ in lengths], [b for _, b in lengths], [float(r.answer == "a") for r in rows])


def winner(record: Comparison) -> Text:
    return record.a if record.answer == "a" else record.b
