from .embed import check_template as check_template
from .embed import embed_images as embed_images
from .embed import embed_source as embed_source
from .embed import make_embedder as make_embedder
from .faces import embed_faces as embed_faces
from .model import Model as Model
from .model import load as load
from .verify import VerificationHook as VerificationHook
