from .api import train as train
from .installation import describe_experiments as describe_experiments
from .installation import describe_installation as describe_installation
from .judge import Judged as Judged
from .run import Result as Result
from .run import run_experiment as run_experiment
