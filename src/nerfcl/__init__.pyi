"""The public names and the modules that define them; `__init__.py` imports each on first use."""

from .config.comparison import Comparison as Comparison
from .config.configurations import Configuration as Configuration
from .config.experiment import (
    Experiment as Experiment,
    SceneSettings as SceneSettings,
    frames_experiment as frames_experiment,
)
from .config.streams import FrameStream as FrameStream, TaskStream as TaskStream, WatchedStream as WatchedStream
from .errors import NerfclError as NerfclError
from .experiments.compare import compare as compare
from .experiments.execute import execute as execute
from .memory.images import ImageMemorySettings as ImageMemorySettings
from .memory.rays import RayMemorySettings as RayMemorySettings
from .memory.snapshots import SnapshotSettings as SnapshotSettings
from .metrics.forgetting import average as average, backward_transfer as backward_transfer, forgetting as forgetting
from .metrics.image import psnr as psnr, ssim as ssim
from .models.fields.field import Field as Field, FieldSettings as FieldSettings
from .models.fields.hash_grid import HashGridSettings as HashGridSettings
from .models.fields.nerf import NerfSettings as NerfSettings
from .models.rendering.model import Model as Model, Rendering as Rendering, render_image as render_image
from .models.settings import model_for as model_for, model_settings as model_settings
from .online.learner import OnlineLearner as OnlineLearner
from .online.settings import Observed as Observed, OnlineSettings as OnlineSettings
from .scenes import load_scene as load_scene
from .scenes.cameras import Camera as Camera, Rays as Rays, look_at as look_at
from .scenes.scene import Box as Box, Scene as Scene, Views as Views
from .strategies.agem import AGem as AGem
from .strategies.distill import Distill as Distill
from .strategies.ewc import Ewc as Ewc
from .strategies.finetune import FineTune as FineTune
from .strategies.generative import Generative as Generative
from .strategies.generative_free import GenerativeFree as GenerativeFree
from .strategies.joint import Joint as Joint
from .strategies.mas import Mas as Mas
from .strategies.replay import Replay as Replay, ReplayAll as ReplayAll
from .strategies.replay_images import ReplayImages as ReplayImages
from .strategies.replay_plus import ReplayPlus as ReplayPlus
from .strategies.soft_targets import SoftTargetRegularization as SoftTargetRegularization
from .strategies.strategy import Strategy as Strategy
from .streams.frames import make_trajectory as make_trajectory
from .streams.pixels import Pixels as Pixels, pixels_at as pixels_at
from .streams.stream import Experience as Experience, Stream as Stream
from .streams.tasks import make_stream as make_stream
from .training.callbacks import Callback as Callback, StepReport as StepReport
from .training.evaluation import evaluate as evaluate
from .training.history import History as History
from .training.learner import Learner as Learner, new_learner as new_learner
from .training.loop import learn as learn
from .training.settings import (
    EvaluationSettings as EvaluationSettings,
    OptimiserSettings as OptimiserSettings,
    TrainingSettings as TrainingSettings,
)

__version__: str
