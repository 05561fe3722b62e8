"""Context distillation: what a text before the prompt brings about, put into the weights (Askell et al. 2021,
arXiv:2112.00861)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tercih.batches import Batch, Beside
from tercih.card import Card
from tercih.forward import Loss, Models, Term, Want
from tercih.method import Method, State
from tercih.ops import mean_of, total

CARD = Card(
    does="puts what a context brings about into the weights",
    paper="Askell et al. 2021",
    link="arXiv:2112.00861",
    family="select, weight, condition",
    when="A prompt already makes your model behave, and you want that without paying for it at every call. It teaches"
    " nothing that the prompt does not bring about; for more than that you need people's preferences.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextDistillation(Method):
    """KL(π0(· | context, x, y_<t) ‖ π(· | x, y_<t)) over the whole vocabulary, in the mean over the tokens of the data.

    The data say where the two are compared, not what is to be said: any text will do, best such as the model writes
    with the context. The reference is the model at the start, which reads the context before every prompt (behind what
    the tokenizer begins a text with). The context is ours; the paper's is a conversation of 4600 words.
    """

    needs_reference = True

    context: str = "Below is a conversation with an assistant that is helpful, honest and harmless. "

    def __post_init__(self) -> None:
        if not self.context:
            raise ValueError("context_distillation.context must not be empty: say what is to be put into the weights")

    @property
    def words(self) -> tuple[str, ...]:
        return (self.context,)

    @torch.no_grad()
    def batches(self, data: Batch, models: Models, _state: State) -> Iterator[Beside]:
        which_B = torch.zeros_like(data.tokens.prompt_of_B)
        told = data.tokens.with_words([models.words[self.context]], which_B, after=len(models.words[""]))
        other = models.reference_states(told)
        yield Beside(tokens=data.tokens, hidden_BTD=other.hidden_BTD, head=other.head)

    def loss(self, policy: nn.Module, batch: Beside) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        kl_BT = policy(batch.tokens, Want(logp=False, kl_from=batch.other)).kl_BT
        return Loss(
            terms={"kl": Term(total(kl_BT, mask_BT), per="tokens")},
            metrics={"kl_per_token": mean_of(kl_BT, mask_BT)},
        )
