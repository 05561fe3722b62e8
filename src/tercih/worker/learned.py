"""What an agent learned from raters, kept beside the clips: it survives the act, and a worker that is killed."""

import re
from pathlib import Path

from tercih.agents.live import Taught
from tercih.records import content_hash
from tercih.worker.bench import Refused
from tercih.worker.clip import within


class Learned:
    """One agent of one project and environment; two acts of it at once keep what the later one to save has learned."""

    def __init__(self, clips: Path, project: str | None, name: str, environment: str, agent: Taught) -> None:
        """What was kept is put into `agent`. Refused where it does not fit."""
        from tercih.checkpoint import Checkpoints  # torch, which a worker without such agents does not need

        plain = re.sub(r"\W+", "-", f"{project or ''}-{name}-{environment}")
        which = content_hash([project, name, environment])[:8]
        self.agent, self.saved = agent, 0
        self.checkpoints = Checkpoints(within(clips, f"agents/{plain}-{which}"))
        if found := self.checkpoints.load():
            try:
                agent.load_state_dict(found[1])
            except (KeyError, RuntimeError, ValueError) as error:
                raise Refused(
                    f"what agent {name!r} learned is kept in {self.checkpoints.folder}, but does not fit it any more:"
                    " were its settings changed? Delete that folder to begin anew"
                ) from error
            self.saved = agent.heard

    def save(self) -> None:
        """Nothing where nothing was heard since."""
        if self.agent.heard > self.saved:
            self.checkpoints.save(self.agent.heard, self.agent.state_dict())
            self.saved = self.agent.heard
