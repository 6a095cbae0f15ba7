"""What the pointer decides of acts without a model: their targets, and how strongly the feed calls for each verb."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.engine.acts import ActRequest, draw_index
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.pointer import OUTPUTS
from polyphony.adapters.prompting.act_scorer import PULLED, VERBS
from polyphony.personas.people.acts import Verb


class Pointing:
    """The pointer of installed adapters, asked about act requests."""

    def __init__(self, adapted: AdaptedModel | None) -> None:
        """Take the adapted layers; None for the bare base, which has no pointer."""
        self._pointer = None if adapted is None else adapted.pointer

    def serves(self, request: ActRequest) -> bool:
        """Whether the targets of a request are chosen by the pointer."""
        if request.items is None or request.slot is None or self._pointer is None:
            return False
        return self._pointer.serves(request.slot)

    def pulls(self, requests: Sequence[ActRequest]) -> Tensor | None:
        """What is shown calls for so much of each verb, shape [requests, verbs]; None where nobody has a pointer."""
        pulls = torch.zeros(len(requests), len(VERBS))
        if self._pointer is None or not any(map(self.serves, requests)):
            return None
        for row, request in enumerate(requests):
            if self.serves(request) and request.items is not None and request.slot is not None:
                shares = torch.zeros(len(OUTPUTS), len(request.items))
                for output, verb in enumerate(OUTPUTS):
                    places = [number - 1 for number in request.targets.get(verb, ())]
                    shares[output, places] = 1 / max(1, len(places))
                pulls[row, PULLED] = self._pointer.pulls(request.items, request.slot, shares)
        return pulls

    def position(self, request: ActRequest, verb: Verb) -> int:
        """Draw the feed item, from 1, that an act of a request which the pointer serves is about."""
        assert self._pointer is not None and request.items is not None and request.slot is not None
        scores = self._pointer.scores(request.items, request.slot)[OUTPUTS.index(verb)]
        possible = np.zeros(len(scores), dtype=bool)
        possible[[number - 1 for number in request.targets[verb]]] = True
        share = scores.masked_fill(torch.tensor(~possible), -torch.inf).softmax(-1).cpu().numpy()
        return draw_index(share, request.uniforms[1]) + 1
