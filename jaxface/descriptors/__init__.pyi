from .aggregation import fit_words as fit_words
from .aggregation import vlad as vlad
from .dense import DENSE_SIZE as DENSE_SIZE
from .dense import dense_descriptors as dense_descriptors
from .lbp import lbp_histograms as lbp_histograms
from .lbp import local_binary_patterns as local_binary_patterns
from .lbp import uniform_labels as uniform_labels
from .oriented_gradients import hog as hog
