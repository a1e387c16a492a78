from .dense import DENSE_SIZE as DENSE_SIZE
from .dense import dense_descriptors as dense_descriptors
from .vlad import fit_words as fit_words
from .vlad import vlad as vlad
