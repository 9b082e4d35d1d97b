"""What a request becomes, by the kind of model that it is for."""

from inference.engine.audio.job import AudioJob
from inference.engine.encoder.job import Job
from inference.engine.sequence import Sequence

Asked = Sequence | Job | AudioJob
