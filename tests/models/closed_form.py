"""Token counts after each block, written down from the definition of each reducer and of the cache."""

import math
from collections.abc import Sequence


def tokens_after_block(
    reducer: str,
    rates: Sequence[float],
    layers: Sequence[int],
    depth: int,
    patches: int,
    prefix: int,
    cache: dict | None,
) -> list[int]:
    """Closed form; for ATS the most that an image may keep."""
    tokens = appended = cache["num_clr"] if cache else 0
    tokens += patches
    recovery = [*layers, *([depth - 2] if cache and cache["recover_at_last"] else [])]
    counts, cached = [], 0
    for layer in range(depth):
        if layer in layers and reducer != "none":
            stage = list(layers).index(layer)
            if rates[stage] < 1:
                if reducer == "dpcknn":
                    aim = max(_aim(rates, stage, patches), 1 if stage == len(rates) - 1 else 5)
                    tokens = min(tokens - appended, aim) + appended
                else:
                    tokens = _left(reducer, rates, stage, patches, tokens, bool(cache))
        counts.append(prefix + tokens)
        if cache and layer in recovery:
            tokens, appended, cached = tokens + cached, appended + cached, 0
        if cache and layer < max(recovery):
            cached += cache["gap"] + min(cache["num_clr"], prefix + tokens)
    return counts


def _left(reducer: str, rates: Sequence[float], stage: int, patches: int, tokens: int, has_cache: bool) -> int:
    rate, aim = rates[stage], _aim(rates, stage, patches)
    if reducer in ("topk", "evit"):
        kept = max(1, math.ceil(rate * tokens))
        return min(tokens, kept + (reducer == "evit"))
    if reducer == "tome":
        before = patches if stage == 0 else _aim(rates, stage - 1, patches)
        return tokens - min(before - aim, tokens // 2)
    if reducer == "ats":
        return min(tokens, max(1, aim) + 1)
    if reducer == "dyvit":
        return min(tokens, max(1, int((tokens - 1) * rate) if has_cache else aim))
    return max(1, aim)  # sit, patchmerger


def _aim(rates: Sequence[float], stage: int, patches: int) -> int:
    same = len(set(rates)) == 1
    return int(patches * (rates[0] ** (stage + 1) if same else math.prod(rates[: stage + 1])))
