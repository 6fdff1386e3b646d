"""lmkit: train, measure and sample language models from plain text.

>>> import lmkit
>>> story = "the old fox ran .\\nthe old owl sat .\\n" * 60
>>> model = lmkit.train(story, order=3, holdout=0)
>>> round(lmkit.perplexity(model, "the old fox ran .").perplexity, 2)
1.13
>>> print(lmkit.generate(model, "the old owl", temperature=0)[0])
the old owl sat.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lmkit.version import __version__

if TYPE_CHECKING:
    from lmkit.bundle import load as load
    from lmkit.bundle import save as save
    from lmkit.classification import Classified as Classified
    from lmkit.classification import classify as classify
    from lmkit.comparison import Comparison as Comparison
    from lmkit.comparison import compare as compare
    from lmkit.counting import count as count
    from lmkit.errors import DivergedError as DivergedError
    from lmkit.errors import InputError as InputError
    from lmkit.errors import LmkitError as LmkitError
    from lmkit.errors import LmkitWarning as LmkitWarning
    from lmkit.errors import ModelFormatError as ModelFormatError
    from lmkit.errors import ResourceError as ResourceError
    from lmkit.errors import UsageError as UsageError
    from lmkit.evaluation import Evaluation as Evaluation
    from lmkit.evaluation import perplexity as perplexity
    from lmkit.evaluation import perplexity_by_file as perplexity_by_file
    from lmkit.filtering import filter_lines as filter_lines
    from lmkit.generation import Sample as Sample
    from lmkit.generation import generate as generate
    from lmkit.generation import stream as stream
    from lmkit.generation.completion import Completion as Completion
    from lmkit.generation.completion import complete as complete
    from lmkit.generation.infill import infill as infill
    from lmkit.mixture.adaptation import adapted as adapted
    from lmkit.mixture.cache import Cached as Cached
    from lmkit.mixture.cache_tuning import tuned_cache as tuned_cache
    from lmkit.mixture.linear import Mixture as Mixture
    from lmkit.mixture.mix import mix as mix
    from lmkit.mixture.neural_cache import NeuralCache as NeuralCache
    from lmkit.mixture.neural_cache_tuning import tuned_neural_cache as tuned_neural_cache
    from lmkit.model import LanguageModel as LanguageModel
    from lmkit.model import State as State
    from lmkit.ngram.arpa import write_arpa as write_arpa
    from lmkit.ngram.arpa_reading import read_arpa as read_arpa
    from lmkit.ngram.counts import TextCounts as TextCounts
    from lmkit.ngram.model import NgramModel as NgramModel
    from lmkit.rnn.dynamic import DynamicModel as DynamicModel
    from lmkit.rnn.dynamic_tuning import tuned_dynamic as tuned_dynamic
    from lmkit.rnn.model import RnnModel as RnnModel
    from lmkit.scoring import LineScore as LineScore
    from lmkit.scoring import line_scores as line_scores
    from lmkit.scoring import rank as rank
    from lmkit.selection import CrossValidation as CrossValidation
    from lmkit.selection import crossval as crossval
    from lmkit.surprisal import TokenScore as TokenScore
    from lmkit.surprisal import token_scores as token_scores
    from lmkit.surprisal import word_scores as word_scores
    from lmkit.text.corpus import Corpus as Corpus
    from lmkit.text.tokenizer import Tokenizer as Tokenizer
    from lmkit.text.vocabulary import Vocabulary as Vocabulary
    from lmkit.training import train as train

# Imported when first asked for: `lmkit --help` needs none of it, and the n-gram path does not need torch.
_PLACES = {
    "DivergedError": "errors",
    "InputError": "errors",
    "LmkitError": "errors",
    "LmkitWarning": "errors",
    "ModelFormatError": "errors",
    "ResourceError": "errors",
    "UsageError": "errors",
    "Cached": "mixture.cache",
    "Classified": "classification",
    "Comparison": "comparison",
    "Completion": "generation.completion",
    "Corpus": "text.corpus",
    "CrossValidation": "selection",
    "DynamicModel": "rnn.dynamic",
    "Evaluation": "evaluation",
    "LanguageModel": "model",
    "LineScore": "scoring",
    "Mixture": "mixture.linear",
    "NeuralCache": "mixture.neural_cache",
    "NgramModel": "ngram.model",
    "RnnModel": "rnn.model",
    "Sample": "generation",
    "State": "model",
    "TextCounts": "ngram.counts",
    "TokenScore": "surprisal",
    "Tokenizer": "text.tokenizer",
    "Vocabulary": "text.vocabulary",
    "adapted": "mixture.adaptation",
    "classify": "classification",
    "compare": "comparison",
    "complete": "generation.completion",
    "count": "counting",
    "crossval": "selection",
    "filter_lines": "filtering",
    "generate": "generation",
    "infill": "generation.infill",
    "line_scores": "scoring",
    "load": "bundle",
    "mix": "mixture.mix",
    "perplexity": "evaluation",
    "perplexity_by_file": "evaluation",
    "rank": "scoring",
    "read_arpa": "ngram.arpa_reading",
    "save": "bundle",
    "token_scores": "surprisal",
    "stream": "generation",
    "train": "training",
    "tuned_cache": "mixture.cache_tuning",
    "tuned_dynamic": "rnn.dynamic_tuning",
    "tuned_neural_cache": "mixture.neural_cache_tuning",
    "word_scores": "surprisal",
    "write_arpa": "ngram.arpa",
}

__all__ = ["__version__", *_PLACES]

# GNU's OpenMP, which torch multiplies with, lets threads that wait for each other spin for milliseconds. Where
# something else wants a core, the one that is waited for does not get it meanwhile: two trainings at once on two cores
# came to nothing. Read once, when the library is first loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'lmkit' has no attribute {name!r}")
    return getattr(import_module(f"lmkit.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
