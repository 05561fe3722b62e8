"""Data sets of the Hugging Face Hub (or a local folder of data files) with the columns of `columns.py`."""

from collections.abc import Mapping

from tercih.sources.columns import Record, records
from tercih.sources.rows import SourceError


def read(name: str, columns: Mapping[str, str] | None = None, skip_bad: bool = False) -> list[Record]:
    """Records of NAME, NAME:SPLIT or NAME:CONFIG:SPLIT, such as `trl-lib/ultrafeedback_binarized:train`.

    The split is "train" where none is named. Raises `SourceError` if the Hub does not know or does not give it.
    """
    from datasets import load_dataset  # takes seconds to import

    repository, *rest = name.split(":")
    if len(rest) > 2:
        raise SourceError(f"hub:{name}: expected NAME, NAME:SPLIT or NAME:CONFIG:SPLIT")
    split = rest[-1] if rest else "train"
    config = rest[0] if len(rest) == 2 else None
    try:
        data = load_dataset(repository, config, split=split)
    except (OSError, ValueError) as error:  # not found, no network, no access; unknown config or split
        raise SourceError(f"hub:{name} cannot be loaded: {error}") from None
    return records(enumerate(data, start=1), f"hub:{name}", columns, skip_bad)
