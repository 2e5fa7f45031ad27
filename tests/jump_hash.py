"""Which of several daemons a project's jobs use, worked out apart from the script that jobs run."""


def jump(key: int, buckets: int) -> int:
    """Return the bucket of a key as the paper has it (Lamping and Veach, 2014)."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) % 2**64
        following = int((bucket + 1) * (2**31 / ((key >> 33) + 1)))
    return bucket
