"""From all that is known of a checkpoint to the settings of its model, each with where it was found."""

from collections.abc import Sequence

from ufgir.config.messages import listed, typed
from ufgir.config.rules import RULES, choices
from ufgir.errors import UserError
from ufgir.models import describe
from ufgir.models.backbones import named_backbones
from ufgir.models.options import CACHE_DEFAULTS
from ufgir.published.budgets import budgets_of, rate_of
from ufgir.published.facts import Fact, Facts
from ufgir.published.names import name_facts
from ufgir.published.reading import Published
from ufgir.published.settings import setting_facts
from ufgir.published.shapes import SHAPES, SIGNS, Outline, shape_facts

PAPERS_LAYERS = [3, 6, 9]
ASSUMED = "assumed, as in the paper"
OF_DPCKNN = {"k_neighbors": 5, "equal_weight": False}  # options of theirs -> the only values that ours has
LISTS_OF_RATES = ("topk", "evit")  # for the others, a list of theirs holds counts, or shares of all tokens


def infer(published: Published, outline: Outline, words: Facts) -> tuple[Facts, list[str]]:
    """Settle every setting that the model depends on.

    What the user said counts first, then what the shapes of the weights prove, then the file's own settings, then its
    name. Cache options and reduction layers that nothing tells are the paper's.

    Args:
        published: the checkpoint.
        outline: its measures.
        words: what the user said.

    Returns:
        the facts by the names of the settings, and remarks on what is contradicted or not followed.

    Raises:
        UserError: something is not told anywhere, or cannot be true; all such faults.
    """
    inference = _Inference(published, outline, words)
    inference.settle()
    if inference.faults:
        raise UserError(*inference.faults)
    return inference.facts, inference.remarks


class _Inference:
    """The facts as far as they are settled, and what was found wrong with them."""

    def __init__(self, published: Published, outline: Outline, words: Facts) -> None:
        self.path, self.outline, self.words = published.path, outline, words
        self.recorded = published.settings
        self.told, remarks = setting_facts(published)
        self.remarks = list(remarks)
        self.faults: list[str] = []
        self.facts: Facts = {}
        for source in (words, shape_facts(outline), self.told, name_facts(published.path)):
            self._take(source)

    def _take(self, source: Facts) -> None:
        """Add the facts of a source; what an earlier one has settled stays, and a difference is told."""
        for key, fact in source.items():
            first = self.facts.setdefault(key, fact)
            if first.value == fact.value:
                continue
            if fact.source == SHAPES and key in self.words:
                self.faults.append(f"{first.source}: the {SHAPES} say {typed(key, fact.value)}. Leave the word out.")
            else:
                self.remarks.append(f"{self._named(key)} counts, not {_shown(fact.value)} ({fact.source}).")

    def _named(self, key: str) -> str:
        """A settled fact as it would be typed and, unless it was typed, its source."""
        text = typed(key, self.facts[key].value)
        return text if key in self.words else f"{text} ({self.facts[key].source})"

    def settle(self) -> None:
        """Check the facts against the shapes and against each other, and fill in what may be assumed."""
        if self.outline.multiplier is None:
            self.facts.pop("plugins.head.multiplier", None)  # of a head that the weights do not have
        self._settle_backbone()
        self._settle_cache()
        self._settle_reducer()
        self._settle_dpcknn()
        if "reducer" in self.facts:
            self._settle_layers()
            self._settle_rate()
        self._settle_sizes()

    def _settle_sizes(self) -> None:
        size, resize = self.facts.get("image_size"), self.facts.get("dataset.resize")
        if size is None:
            self._miss("image size", "image_size=224, or the side that it was trained with")
        elif resize is not None and isinstance(size.value, int) and resize.value < size.value:
            self.remarks.append(f"{resize.source}={resize.value} is less than the image size; it is passed over.")
            del self.facts["dataset.resize"]

    def _miss(self, what: str, advice: str) -> None:
        self.faults.append(f"{self.path} does not tell its {what}, nor does its name. Give {advice}.")

    def _settle_backbone(self) -> None:
        measures = (self.outline.depth, self.outline.width, self.outline.patch)
        fact = self.facts.get("backbone")
        if fact is None:
            return self._miss("backbone", f"backbone=NAME, a timm name{_fitting(measures)}")
        try:
            facts = describe(str(fact.value))
        except UserError as error:
            self.faults += error.faults
            return None
        if (facts.depth, facts.embed_dim, *facts.patch) != (*measures, self.outline.patch):
            self.faults.append(
                f"{self._named('backbone')} has {facts.depth} blocks of width {facts.embed_dim} and "
                f"patches of {facts.patch[0]}; the weights have {measures[0]}, {measures[1]} and {measures[2]}. "
                f"Give backbone=NAME, a timm name{_fitting(measures)}."
            )
        return None

    def _settle_cache(self) -> None:
        if "plugins.cache" not in self.facts and self.told:
            self.facts["plugins.cache"] = Fact(False, "its settings do not mention a cache")
        cached = self.facts.get("plugins.cache")
        if cached is None:
            return self._miss("plug-ins", f"plugins={listed(choices('plugins'))}")
        off = self.told.get("plugins.cache")
        if self.outline.num_clr and off is not None and not off.value and "plugins.cache" not in self.words:
            self.faults.append(
                f"{self.path} has CLR tokens, but {off.source} is false: a model with them and without the cache does "
                "not exist here. If it has the cache, give plugins=clc or plugins=clca."
            )
        for option, default in CACHE_DEFAULTS.items():
            if cached.value:
                self.facts.setdefault(f"plugins.cache.{option}", Fact(default, ASSUMED))
            else:
                self.facts.pop(f"plugins.cache.{option}", None)
        return None

    def _settle_reducer(self) -> None:
        fact = self.facts.get("reducer")
        known = choices("reducer")
        if fact is None:
            self._miss("reducer", f"reducer={listed(known)}")
        elif fact.value not in known:
            self.faults.append(f"{self._named('reducer')} is not one of {listed(known)}.")
        elif fact.value in SIGNS and self.outline.reducer is None:
            self.faults.append(
                f"{self._named('reducer')}: the weights have no entry of it, such as "
                f"{SIGNS[fact.value][0].format(0)}. Give the right one, reducer={listed(known)}."
            )

    def _settle_dpcknn(self) -> None:
        if "reducer" in self.facts and self.facts["reducer"].value == "dpcknn":
            for option, value in OF_DPCKNN.items():
                if self.recorded.get(option, value) not in (value, None):
                    self.faults.append(
                        f"{option}={_shown(self.recorded[option])} in the settings of {self.path}: DPC-KNN has only "
                        f"{option}={_shown(value)} here, so its logits would be others."
                    )

    def _settle_layers(self) -> None:
        if self.facts["reducer"].value == "none" and "reduction_layers" not in self.words:
            # Their unreduced model, alone, takes no notice of the option.
            self.facts["reduction_layers"] = Fact(PAPERS_LAYERS, "their unreduced model has no others")
        fact = self.facts.setdefault("reduction_layers", Fact(PAPERS_LAYERS, ASSUMED))
        if not RULES["reduction_layers"].kind.accepts(fact.value):
            return  # which composing the config will tell
        collected = len({*fact.value, self.outline.depth - 1})
        if self.outline.groups not in (None, collected):
            self._wrong_layers(f"its head collects {self.outline.groups} class tokens, not {collected}")
        if self.outline.stages not in (0, len(fact.value)):
            self._wrong_layers(f"its reducer has {self.outline.stages} stages, not {len(fact.value)}")

    def _wrong_layers(self, reason: str) -> None:
        self.faults.append(
            f"{self._named('reduction_layers')} cannot be those of {self.path}: {reason}. "
            "Give reduction_layers=[...], blocks counted from 0."
        )

    def _settle_rate(self) -> None:
        reducer, fact = self.facts["reducer"].value, self.facts.get("keep_rate")
        said, why = "keep_rate" in self.words, ""
        if reducer == "none" and not said:
            self.facts.pop("keep_rate", None)
            return
        if fact is not None and isinstance(fact.value, list) and reducer not in LISTS_OF_RATES and not said:
            why = f" ({fact.source}: {_shown(fact.value)} are counts or shares of all tokens, for {reducer})"
            del self.facts["keep_rate"]
            fact = None
        if self.outline.budgets and self.outline.side:
            self._settle_rate_by_budgets(fact)
        elif fact is None:
            self._miss(f"keep rate{why}", "keep_rate=RATE, the share of the tokens kept at each reduction layer")

    def _settle_rate_by_budgets(self, fact: Fact | None) -> None:
        """Some reducers' weights have the number of tokens kept in their shapes, and with it nearly the rate."""
        budgets, patches = self.outline.budgets, self.outline.side**2
        if fact is not None and RULES["keep_rate"].kind.accepts(fact.value):
            expected = budgets_of(fact.value, patches, len(budgets))
            if expected == budgets:
                return
            self.remarks.append(f"{fact.source}: {_shown(fact.value)} would keep {_shown(expected)} tokens.")
        rate = rate_of(budgets, patches)
        if rate is None or "keep_rate" in self.words:
            right = "keep_rate=[...], a rate for each stage, that does so" if rate is None else f"keep_rate={rate:g}"
            self.faults.append(f"keep_rate: the weights keep {_shown(budgets)} of {patches} patches. Give {right}.")
        else:
            self.facts["keep_rate"] = Fact(rate, f"{SHAPES}, which keep {_shown(budgets)} tokens")


def _fitting(measures: tuple[int, int, int]) -> str:
    """Our names of the backbones with these numbers of blocks, width and patch size."""
    fitting = []
    for name in named_backbones():
        facts = describe(name)
        if (facts.depth, facts.embed_dim, facts.patch[0]) == measures:
            fitting.append(name)
    return f", or {listed(fitting)}, which would fit" if fitting else ""


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
