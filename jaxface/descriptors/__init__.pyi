from .aggregation import fit_words as fit_words
from .aggregation import vlad as vlad
from .dense import DENSE_SIZE as DENSE_SIZE
from .dense import dense_descriptors as dense_descriptors
