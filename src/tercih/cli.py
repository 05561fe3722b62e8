"""The command line. Nothing imports it; it imports what a command needs only when that command is chosen."""

import os
import sys
from importlib import import_module
from typing import NamedTuple


class Command(NamedTuple):
    target: str  # module:function, called with the rest of the command line
    help: str


COMMANDS = {
    "quickstart": Command("tercih.commands.recipes:quickstart", "the whole loop in minutes, offline, on a laptop"),
    "run": Command("tercih.commands.recipes:run", "a recipe by name or path: a whole pipeline"),
    "train": Command("tercih.commands.train:train", "one stage by one method: sft, bradley_terry, dpo, ppo, …"),
    "pick": Command("tercih.commands.pick:pick", "the best of what is offered, by what scores it"),
    "judge": Command("tercih.commands.judge:judge", "pairs labelled by a language model, in both orders"),
    "serve": Command("tercih.commands.serve:serve", "the web pages on which people compare"),
    "methods": Command("tercih.commands.methods:methods", "every method: paper, file, command, proof, when to take it"),
    "verify": Command("tercih.commands.verify:verify", "prove that methods do what their papers say"),
    "profile": Command("tercih.commands.profile:profile", "where a recipe's time and memory go, and what to change"),
    "doctor": Command("tercih.commands.doctor:doctor", "say what would go wrong, before spending hours"),
    "leakage": Command("tercih.commands.leakage:leakage", "what is in training and test data alike, or there twice"),
    "aggregate": Command("tercih.commands.aggregate:aggregate", "ways to weigh raters, side by side on public crowds"),
    "teacher": Command("tercih.commands.teacher:teacher", "simulated teachers like the raters of a project"),
    "key": Command("tercih.commands.key:key", "an API key for a program that asks people"),
    "worker": Command("tercih.commands.worker:worker", "do what the labelling server leaves to it: score, fit, chat"),
    "clips": Command("tercih.commands.clips:clips", "questions about clips of any Gymnasium environment"),
    "chat": Command("tercih.commands.chat:chat", "talk to what was trained"),
    "report": Command("tercih.commands.folders:report", "write the report of a run again"),
    "merge": Command("tercih.commands.folders:merge", "fold an adapter into its model"),
    "push": Command("tercih.commands.folders:push", "send a trained model to the Hub"),
    "export": Command("tercih.commands.exchange:export", "a project's answers as JSONL, Parquet or datasets"),
    "import": Command("tercih.commands.exchange:import_", "questions and answers from files and other tools"),
    "backup": Command("tercih.commands.exchange:backup", "copy the database while the server runs"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  tercih {name:<{width}}  {command.help}" for name, command in COMMANDS.items())
    return (
        "Tercih closes the loop of reinforcement learning from human feedback.\n\n"
        f"{rows}\n\n`tercih COMMAND --help` explains a command. Start with `tercih quickstart`.\n"
    )


def main() -> None:
    """Exit status 0 when all went well, 1 when a check failed, 2 for what cannot be done as asked."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        from importlib.metadata import version

        print(version("tercih"))
        return
    if name not in COMMANDS:
        print(f"error: there is no command {name!r}\n\n{usage()}", end="", file=sys.stderr)
        sys.exit(2)
    if name != "train" and os.environ.get("WORLD_SIZE", "1") != "1":
        if os.environ.get("RANK") == "0":
            print(f"error: torchrun is for `tercih train` alone; start `tercih {name}` without it", file=sys.stderr)
        sys.exit(2)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    module, function = COMMANDS[name].target.split(":")
    try:
        status = getattr(import_module(module), function)(rest)
    except BrokenPipeError:  # whoever was reading has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:  # ours are these; each says what to do
        if os.environ.get("TERCIH_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        if not type(error).__module__.startswith("tercih."):
            print("(TERCIH_DEBUG=1 before the command shows where this comes from)", file=sys.stderr)
        sys.exit(2)
    sys.exit(status or 0)


if __name__ == "__main__":
    main()
