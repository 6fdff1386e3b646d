"""Text from a language model: rules, search, prefixes, and words that read well. A file an idea."""

from lmkit.generation.deadline import Deadline as Deadline
from lmkit.generation.samples import Sample as Sample
from lmkit.generation.samples import generate as generate
from lmkit.generation.streaming import Token as Token
from lmkit.generation.streaming import stream as stream
