"""GitLab's side of the lab: a stand-in for its job API and its git over HTTP."""

from lab.gitlab.client import NAMESPACE as NAMESPACE
from lab.gitlab.client import artifacts as artifacts
from lab.gitlab.client import cancel as cancel
from lab.gitlab.client import log as log
from lab.gitlab.client import packed as packed
from lab.gitlab.client import push as push
from lab.gitlab.client import run as run
from lab.gitlab.client import runner_token as runner_token
from lab.gitlab.client import runners as runners
from lab.gitlab.client import state as state
from lab.gitlab.client import submit as submit
from lab.gitlab.client import up as up
from lab.gitlab.client import wait as wait
from lab.gitlab.model import PROJECT as PROJECT
from lab.gitlab.model import PROJECT_ID as PROJECT_ID
from lab.gitlab.model import REPOSITORY as REPOSITORY
from lab.gitlab.model import URL as URL
from lab.gitlab.model import Artifacts as Artifacts
from lab.gitlab.model import Cache as Cache
from lab.gitlab.model import Git as Git
from lab.gitlab.model import Job as Job
from lab.gitlab.model import Line as Line
from lab.gitlab.model import Result as Result
from lab.gitlab.model import Service as Service
from lab.gitlab.model import Variable as Variable
