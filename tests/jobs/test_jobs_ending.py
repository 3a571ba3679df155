"""How a job ended, from what Ray tells of it."""

import pytest
from ray.exceptions import RuntimeEnvSetupError
from ray.job_submission import JobDetails, JobStatus, JobType

from dist_erase.errors import UserError
from dist_erase.orchestration.jobs.follow import ending_of_job
from dist_erase.orchestration.no_environment import environments_explained


def ended(status: JobStatus, **told):
    job = JobDetails(
        type=JobType.SUBMISSION, submission_id="x", status=status, entrypoint="", **told
    )
    return ending_of_job(job)


@pytest.mark.parametrize("code", [2, 3, 75])
def test_by_the_exit_code_of_its_driver(code):
    assert ended(JobStatus.FAILED, driver_exit_code=code).exit_code == code


def test_one_that_no_node_could_prepare_for_is_the_users_to_mend():
    ending = ended(
        JobStatus.FAILED,
        error_type="RUNTIME_ENV_SETUP_FAILURE",
        message="runtime_env setup failed: ... [Node 10.0.0.7] Traceback (most recent call last):\n"
        '  File "packaging.py", line 1374, in install_wheel_package\n'
        "FileNotFoundError: [Errno 2] No such file or directory: 'pip'\n"
        "During handling of the above exception, another exception occurred:\n"
        "UnboundLocalError: cannot access local variable 'exit_code'\n",
    )
    assert ending.exit_code == 2
    assert "(FileNotFoundError: [Errno 2] No such file or directory: 'pip')" in ending.message
    assert "code to image" in ending.message


def test_without_a_word_it_is_a_bug():
    assert ended(JobStatus.FAILED).exit_code == 1
    assert "Ray does not say why" in ended(JobStatus.FAILED).message


def test_a_run_that_needs_such_a_node_says_the_same():
    told = "Failed to set up runtime environment.\n  File x\nOSError: no pip\nValueError: so it is"
    said = r"a node could not prepare .* \(OSError: no pip\)"
    with pytest.raises(UserError, match=said), environments_explained():
        raise RuntimeEnvSetupError(told)
