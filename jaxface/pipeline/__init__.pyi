from .api import train as train
from .judge import Judged as Judged
from .run import Result as Result
from .run import run_experiment as run_experiment
