from .file import read_gallery as read_gallery
from .file import write_gallery as write_gallery
from .gallery import Candidate as Candidate
from .gallery import Found as Found
from .gallery import Gallery as Gallery
from .gallery import Maker as Maker
from .gallery import OtherMaker as OtherMaker
