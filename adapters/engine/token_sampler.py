"""Drawing the next token of requests that each have settings of their own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from polyphony.adapters.engine.decoding import drawn_from_nucleus
from polyphony.adapters.engine.generation import Generation, Sampling, TokenScores
from polyphony.adapters.engine.group_sampler import draw_tokens
from polyphony.errors import PolyphonyError

NOT_FINITE = "its adapter makes numbers that are not finite"


class TokenSampler:
    """Draws tokens; control tokens other than an end can never be drawn."""

    def __init__(self, banned: Sequence[int], ends: Sequence[int]) -> None:
        """Take the tokens that are never drawn, and those that end a text."""
        self._banned = torch.tensor(sorted(set(banned) - set(ends)), dtype=torch.long)
        self._ends = torch.tensor(sorted(ends), dtype=torch.long)

    def draw(
        self, logits: Tensor, generations: Sequence[Generation]
    ) -> tuple[list[int | Exception], list[TokenScores | None]]:
        """Draw one token for each text; what hinders that in one text is returned in place of its token.

        Args:
            logits: Shape [rows, vocabulary]; overwritten.
            generations: The texts, one for each row.
        """
        samplings = [generation.sampling for generation in generations]
        wanted = [row for row, sampling in enumerate(samplings) if sampling.is_scored]
        logs = logits[wanted].log_softmax(-1) if wanted else None
        faults = self._mask(logits, generations)
        for row, is_finite in enumerate(logits.amax(-1).isfinite().tolist()):
            if not is_finite:
                faults.setdefault(row, PolyphonyError(NOT_FINITE))
        if faults:
            logits[list(faults)] = 0.0  # drawn and thrown away
        drawn = self._drawn(logits, generations)
        scores: list[TokenScores | None] = [None] * len(generations)
        if logs is not None:
            for place, row in enumerate(wanted):
                if row not in faults:
                    scores[row] = _scores(logs[place], drawn[row], samplings[row])
        return [faults.get(row, token) for row, token in enumerate(drawn)], scores

    def _mask(self, logits: Tensor, generations: Sequence[Generation]) -> dict[int, Exception]:
        """Take away what may not come, and make written tokens less likely where that is asked for.

        Returns:
            What the constraints of some rows raised.
        """
        faults: dict[int, Exception] = {}
        logits.index_fill_(1, self._banned.to(logits.device), -torch.inf)
        for row, generation in enumerate(generations):
            penalty = generation.sampling.repetition_penalty
            if penalty != 1 and generation.written:
                written = torch.tensor(sorted(set(generation.written)), device=logits.device)
                scores = logits[row, written]
                logits[row, written] = torch.where(scores > 0, scores / penalty, scores * penalty)
            if generation.sampling.bias:
                places, added = zip(*generation.sampling.bias, strict=True)
                logits[row, list(places)] += torch.tensor(added, device=logits.device)
            if generation.constraint is not None:
                closing = len(generation.written) >= generation.most
                try:
                    allowed = torch.from_numpy(generation.constraint.allowed(closing=closing)).to(logits.device)
                except Exception as error:  # whatever a schema from outside can do to its parser
                    faults[row] = error
                    continue
                logits[row].masked_fill_(~allowed[: logits.shape[1]], -torch.inf)
            elif generation.sampling.goes_on or not generation.written:
                logits[row, self._ends.to(logits.device)] = -torch.inf  # a text has at least one token
        return faults

    def _drawn(self, logits: Tensor, generations: Sequence[Generation]) -> list[int]:
        drawn = [0] * len(generations)
        kinds: dict[str, list[int]] = {"likeliest": [], "all": [], "nucleus": []}
        for row, generation in enumerate(generations):
            sampling = generation.sampling
            closing = generation.constraint is not None and len(generation.written) >= generation.most
            kind = "likeliest" if sampling.temperature == 0 or closing else "all" if sampling.top_p == 1 else "nucleus"
            kinds[kind].append(row)
        draws = {"likeliest": _likeliest, "all": _from_all, "nucleus": _from_nucleus}
        for kind, rows in kinds.items():
            if rows:
                part = logits if len(rows) == len(logits) else logits[rows]
                for row, token in zip(rows, draws[kind](part, [generations[row] for row in rows]), strict=True):
                    drawn[row] = token
        return drawn


def _likeliest(logits: Tensor, _generations: Sequence[Generation]) -> list[int]:
    tokens: list[int] = logits.argmax(-1).tolist()
    return tokens


def _from_all(logits: Tensor, generations: Sequence[Generation]) -> list[int]:
    drawn, _, _ = draw_tokens(logits / _temperatures(logits, generations), _uniforms(logits, generations))
    tokens: list[int] = drawn.tolist()
    return tokens


def _from_nucleus(logits: Tensor, generations: Sequence[Generation]) -> list[int]:
    limits = torch.tensor([generation.sampling.top_p for generation in generations], device=logits.device).unsqueeze(1)
    return drawn_from_nucleus(logits / _temperatures(logits, generations), limits, _uniforms(logits, generations))


def _temperatures(logits: Tensor, generations: Sequence[Generation]) -> Tensor:
    return torch.tensor(
        [generation.sampling.temperature for generation in generations], device=logits.device
    ).unsqueeze(1)


def _uniforms(logits: Tensor, generations: Sequence[Generation]) -> Tensor:
    draws = [float(generation.uniforms[len(generation.written)]) for generation in generations]
    return torch.tensor(draws, dtype=torch.float64, device=logits.device)


def _scores(logs: Tensor, token: int, sampling: Sampling) -> TokenScores:
    top: tuple[tuple[int, float], ...] = ()
    if sampling.top:
        values, ids = logs.topk(min(sampling.top, len(logs)))
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    scored = tuple(logs[list(sampling.scored)].tolist()) if sampling.scored else ()
    return TokenScores(float(logs[token]), top, scored)
