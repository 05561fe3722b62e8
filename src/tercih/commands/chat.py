"""`tercih chat RUN`: talk to what was trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from tercih.commands.folders import model_folder
from tercih.config import ConfigError, from_command_line
from tercih.data.tokenize import Tokenizer
from tercih.models.load import load_policy, read_about
from tercih.progress import console
from tercih.records import Content, Message, Text
from tercih.rollout.sampler import sample_items
from tercih.rollout.sampling import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """Type a prompt, read the answer; an empty line ends it. With a chat template the conversation is remembered."""

    model: Annotated[Path, tyro.conf.Positional]
    """A run folder or a model folder."""
    sampling: Sampling = Sampling(max_new_tokens=64)
    """An answer is shorter where the model's context has no room for more."""
    seed: int = 0


def chat(arguments: Sequence[str]) -> None:
    main(from_command_line(Chat, arguments, program="tercih chat"))


def main(config: Chat) -> None:
    folder = model_folder(config.model)
    if read_about(folder).get("kind") == "RewardModel":
        raise ConfigError(f"{folder} is a reward model; it scores and does not talk")
    tokenizer, policy = Tokenizer.load(folder), load_policy(folder)
    turns: tuple[Message, ...] = ()
    console.print(f"[dim]{folder}; an empty line ends the conversation[/dim]")
    for number in range(1_000_000):
        said = ask()
        if not said:
            return
        prompt: Content = said
        if tokenizer.hf.chat_template is not None:
            turns = (*turns, Message(role="user", content=said))
            prompt = turns
        room = policy.context - len(tokenizer.prompt(prompt))
        if room < 1:
            console.print(f"[dim]that is more than the model's context of {policy.context} tokens; starting anew[/dim]")
            turns = ()
            continue
        sampling = replace(config.sampling, max_new_tokens=min(config.sampling.max_new_tokens, room))
        asked = [Text(prompt=prompt, completion="")]
        answer = sample_items(policy, tokenizer, asked, sampling, seed=config.seed + number, origin="chat")[0]
        turns = (*turns, Message(role="assistant", content=str(answer.completion)))
        console.print(str(answer.completion).strip(), style="bold", markup=False)


def ask() -> str:
    try:
        return input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        return ""
