"""How a job ended, from what Ray tells of it."""

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from dist_erase.orchestration.jobs.follow import ending_of_job


def ended(status: JobStatus, **told):
    job = JobDetails(
        type=JobType.SUBMISSION, submission_id="x", status=status, entrypoint="", **told
    )
    return ending_of_job(job)


@pytest.mark.parametrize("code", [2, 3, 75])
def test_by_the_exit_code_of_its_driver(code):
    assert ended(JobStatus.FAILED, driver_exit_code=code).exit_code == code


def test_one_that_its_node_could_not_unpack_is_the_users_to_mend():
    ending = ended(
        JobStatus.FAILED,
        error_type="RUNTIME_ENV_SETUP_FAILURE",
        message="runtime_env setup failed: ... [Node 10.0.0.7] Traceback (most recent call last):\n"
        '  File "packaging.py", line 1374, in download_and_unpack_package\n'
        "OSError: [Errno 28] No space left on device\n"
        "During handling of the above exception, another exception occurred:\n"
        "RuntimeError: so it is\n",
    )
    assert ending.exit_code == 2
    assert "(OSError: [Errno 28] No space left on device)" in ending.message


def test_without_a_word_it_is_a_bug():
    assert ended(JobStatus.FAILED).exit_code == 1
    assert "Ray does not say why" in ended(JobStatus.FAILED).message
