from . import alignment as alignment
from . import data as data
from . import descriptors as descriptors
from . import detection as detection
from . import evaluation as evaluation
from . import formats as formats
from . import gallery as gallery
from . import geometry as geometry
from . import heads as heads
from . import inference as inference
from . import interop as interop
from . import layers as layers
from . import losses as losses
from . import models as models
from . import pipeline as pipeline
from . import planning as planning
from . import testing as testing
from . import training as training
from . import verifiers as verifiers
from . import xla_flags as xla_flags
from .evaluation import verify as verify
from .inference import load as load
from .pipeline import train as train

__version__: str
