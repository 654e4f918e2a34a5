"""Engine of engines: the cheapest first, checked, and the next where the check does not hold."""

from __future__ import annotations

import torch

from tsode.inference.draws import Posterior, merge
from tsode.inference.engines.hmc import answer_by_hmc
from tsode.inference.engines.importance import answer_by_importance
from tsode.inference.engines.laplace import answer_by_laplace
from tsode.inference.engines.quadrature import ACCURATE, MOST_AXES, answer_by_quadrature
from tsode.inference.engines.rest import is_at_rest
from tsode.inference.evaluation import INTERRUPTED, Evaluator, Stopped
from tsode.inference.modes import Modes
from tsode.inference.settings import Settings

__all__ = ["answer_by_auto"]


def answer_by_auto(evaluator: Evaluator, modes: Modes, settings: Settings) -> Posterior:
    """Quadrature over one or two coordinates; else importance sampling, if its weights and its draws pass; else chains.

    Importance sampling passes with a Pareto k below `max_k`, `enough` effective draws, and draws that a few
    trajectories leave where they are. Each problem goes on by itself. Where time is up the answer is the best so far.
    """
    answer = answer_by_laplace(evaluator, modes, settings)
    left = torch.arange(len(modes.point))
    try:
        if len(evaluator.names) <= MOST_AXES:
            answer = answer_by_quadrature(evaluator, modes, settings)
            left = (answer.log_evidence_se > ACCURATE).nonzero().squeeze(1)
        if not len(left):
            return answer
        asked, own_modes = evaluator.select(left), modes.select(left)
        weighted = answer_by_importance(asked, own_modes, settings)
        answer = merge(answer, weighted, left)
        holds = (weighted.pareto_k < settings.max_k) & (weighted.ess_bulk[:, 0] >= settings.enough)
        tried = holds.nonzero().squeeze(1)
        if len(tried):
            holds[tried] = is_at_rest(asked.select(tried), weighted.select(tried), settings)
        failed = (~holds).nonzero().squeeze(1)
        if len(failed):
            left = left[failed]
            chains = answer_by_hmc(asked.select(failed), own_modes.select(failed), settings, weighted.select(failed))
            answer = merge(answer, chains, left)
    except (Stopped, KeyboardInterrupt) as stopped:
        evaluator.stop(str(stopped) or INTERRUPTED)
    return answer
