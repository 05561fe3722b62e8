"""Data sets of the Hugging Face Hub (or a local folder of data files) with the columns of `columns.py`."""

from collections.abc import Iterable, Mapping
from typing import Any

from tercih.sources.columns import Record, records
from tercih.sources.rows import Row, SourceError

CONVERTED = "refs/convert/parquet"
"""Where the Hub keeps the Parquet copy of a set that is published as a script: a folder for every configuration, in it
one for every split."""


def read(name: str, columns: Mapping[str, str] | None = None, skip_bad: bool = False) -> list[Record]:
    """Records of NAME, NAME:SPLIT or NAME:CONFIG:SPLIT, such as `trl-lib/ultrafeedback_binarized:train`.

    The split is "train" where none is named. Raises `SourceError` if the Hub does not know or does not give it.
    """
    return records(enumerate(fetch(name), start=1), f"hub:{name}", columns, skip_bad)


def fetch(name: str) -> Iterable[Row]:
    """The rows of NAME, NAME:SPLIT, NAME:CONFIG:SPLIT, or NAME:FOLDER/:SPLIT for the files of one folder of the set."""
    from datasets import load_dataset  # takes seconds to import

    repository, *rest = name.split(":")
    if len(rest) > 2:
        raise SourceError(f"hub:{name}: expected NAME, NAME:SPLIT, NAME:CONFIG:SPLIT or NAME:FOLDER/:SPLIT")
    part = rest[0] if len(rest) == 2 else ""
    options: dict[str, Any] = {"split": rest[-1] if rest else "train"}
    if part.endswith("/"):
        options["data_dir"] = part.rstrip("/")
    elif part:
        options["name"] = part
    try:
        try:
            data: Iterable[Row] = load_dataset(repository, **options)
        except (RuntimeError, ValueError) as error:
            # The second is what `datasets` says of a script of which it holds another part in its cache.
            if not any(said in str(error) for said in ("scripts are no longer supported", "Couldn't find cache")):
                raise
            folder = {"data_dir": options.pop("name")} if "name" in options else {}
            data = load_dataset(repository, revision=CONVERTED, **options, **folder)
    except (OSError, ValueError, RuntimeError) as error:  # not found, no network, no access; unknown config or split
        raise SourceError(f"hub:{name} cannot be loaded: {error}") from None
    return data
