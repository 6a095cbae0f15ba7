"""The language-model head, in full precision and only for the tokens that are needed."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.prepacked_linear import PrepackedLinear

# Tokens whose logits exist at once: 128 × 49,152 numbers are 25 MB.
TOKENS_AT_ONCE = 128
# Probabilities are raised to this before the logarithm, which float32 cannot take of smaller ones.
SMALLEST = 1e-38
# Logit of a token that cannot come: its probability is zero in float32, and its product with zero is zero.
NO_SHARE = -1e4


class _TokenNll(torch.autograd.Function):
    """Negative log-likelihood of tokens; the forward pass computes its gradient by the hidden states, too.

    The gradient of -log softmax(W h)[y] is Wᵀ softmax(W h) - W[y]. Computed in the forward pass, it makes storing the
    logits unnecessary. Both products use the base's compute type: in bf16 a logit is off by a few hundredths.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        losses, grads = [], []
        for part, targets in zip(hidden.split(TOKENS_AT_ONCE), tokens.split(TOKENS_AT_ONCE), strict=True):
            shares = functional.linear(part, weight, bias).softmax(-1)
            likelihood = shares.gather(1, targets.unsqueeze(1)).squeeze(1).float()
            losses.append(-likelihood.clamp(min=SMALLEST).log())
            grads.append(shares @ weight - weight[targets])
        ctx.save_for_backward(torch.cat(grads))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0].unsqueeze(1).to(gradient.dtype), None, None, None


class _TokenLikelihood(torch.autograd.Function):
    """Log-likelihood of tokens and entropy of what might have come, from a softmax in float32.

    The gradient of log p[y] by the logits is e_y - p, and that of the entropy H is -p (log p + H). Computed in the
    forward pass, they make storing the logits unnecessary.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, tokens: Tensor, head: "Head", banned: Tensor, needs_entropy: bool
    ) -> tuple[Tensor, Tensor]:
        likelihoods, entropies, by_likelihood, by_entropy = [], [], [], []
        weight = head.training_weight
        for part, targets in zip(hidden.split(TOKENS_AT_ONCE), tokens.split(TOKENS_AT_ONCE), strict=True):
            logs = head.free_logits(part, banned).log_softmax(-1)
            shares = logs.exp()
            entropy = -(shares * logs).sum(-1)
            likelihoods.append(logs.gather(1, targets.unsqueeze(1)).squeeze(1))
            entropies.append(entropy)
            by_likelihood.append(weight[targets] - shares.to(weight.dtype) @ weight)
            if needs_entropy:
                by_entropy.append(-(shares * (logs + entropy.unsqueeze(1))).to(weight.dtype) @ weight)
        ctx.save_for_backward(torch.cat(by_likelihood), torch.cat(by_entropy) if by_entropy else hidden.new_zeros(0))
        return torch.cat(likelihoods), torch.cat(entropies)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        by_likelihood, by_entropy = ctx.saved_tensors
        gradient = by_likelihood * grads[0].unsqueeze(1).to(by_likelihood.dtype)
        if len(by_entropy):
            gradient = gradient + by_entropy * grads[1].unsqueeze(1).to(by_entropy.dtype)
        return gradient, None, None, None, None


class Head:
    """Maps final hidden states to logits in float32.

    On a CPU the head's weights are float32 whatever the base computes in: a half-precision product with a weight of
    49,152 rows takes several times longer there, and probabilities are computed from it.
    """

    def __init__(self, base: BaseModel) -> None:
        """Copy the head of a model."""
        head = base.model.get_output_embeddings()
        self._cast = torch.float32 if base.device.type == "cpu" else head.weight.dtype
        self._weight = head.weight.detach().to(self._cast)
        bias = getattr(head, "bias", None)
        self._bias = None if bias is None else bias.detach().to(self._cast)
        self._product = PrepackedLinear(self._weight, self._bias)
        self._training_weight, self._training_bias = head.weight.detach(), getattr(head, "bias", None)
        config = base.model.config.get_text_config()
        self._cap: float | None = getattr(config, "final_logit_softcapping", None)
        # Cohere multiplies its logits, Granite divides them.
        self._scale = float(getattr(config, "logit_scale", None) or 1) / float(getattr(config, "logits_scaling", 1))

    def __call__(self, hidden: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Map hidden states to logits, with the family's scale and soft cap if it has them.

        Args:
            hidden: Shape [..., hidden].
            tokens: Token ids to score, shape [n]; None for the whole vocabulary.

        Returns:
            Shape [..., n] or [..., vocabulary].
        """
        if tokens is None:
            return self._capped(self._product(hidden.to(self._cast)).float())
        bias = None if self._bias is None else self._bias[tokens]
        return self._capped(functional.linear(hidden.to(self._cast), self._weight[tokens], bias).float())

    def nll(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Negative log-likelihood in nats of each next token, its product in the base's own compute type.

        Over many tokens the rounding errors of half precision cancel out; drawing a token uses the float32 head.

        Args:
            hidden: Shape [n, hidden].
            tokens: Token ids, shape [n].

        Returns:
            Shape [n].
        """
        if self._cap is None and self._scale == 1 and hidden.requires_grad:
            nll: Tensor = _TokenNll.apply(hidden, tokens, self._training_weight, self._training_bias)
            return nll
        parts = zip(hidden.split(TOKENS_AT_ONCE), tokens.split(TOKENS_AT_ONCE), strict=True)
        return torch.cat(
            [functional.cross_entropy(self._logits(part), targets, reduction="none") for part, targets in parts]
        )

    @property
    def training_weight(self) -> Tensor:
        """The weight in the base's own compute type, shape [vocabulary, hidden]."""
        weight: Tensor = self._training_weight
        return weight

    def free_logits(self, hidden: Tensor, banned: Tensor) -> Tensor:
        """Logits of shape [n, vocabulary] for drawing and learning alike; those of banned tokens have no share.

        The product is in the base's own compute type, so that the one who draws and the one who learns agree.
        """
        logits: Tensor = self._logits(hidden).index_fill(1, banned, NO_SHARE)
        return logits

    def likelihood(
        self, hidden: Tensor, tokens: Tensor, banned: Tensor, *, needs_entropy: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood in nats of each next token, and the entropy of the distribution it is drawn from.

        Args:
            hidden: Shape [n, hidden].
            tokens: Token ids, shape [n].
            banned: Tokens that cannot come.
            needs_entropy: Whether the entropy has a gradient, too.

        Returns:
            Both of shape [n], in float32.
        """
        if self._cap is None and self._scale == 1 and self._training_bias is None:
            answer: tuple[Tensor, Tensor] = _TokenLikelihood.apply(hidden, tokens, self, banned, needs_entropy)
            return answer
        likelihoods, entropies = [], []
        for part, targets in zip(hidden.split(TOKENS_AT_ONCE), tokens.split(TOKENS_AT_ONCE), strict=True):
            logs = self.free_logits(part, banned).log_softmax(-1)
            likelihoods.append(logs.gather(1, targets.unsqueeze(1)).squeeze(1))
            entropies.append(-(logs.exp() * logs).sum(-1))
        return torch.cat(likelihoods), torch.cat(entropies)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self._capped(functional.linear(hidden, self._training_weight, self._training_bias).float())

    def _capped(self, logits: Tensor) -> Tensor:
        scaled = logits if self._scale == 1 else logits * self._scale
        return scaled if self._cap is None else torch.tanh(scaled / self._cap) * self._cap
