import click


def show_build(b):
    for v in b.variants:
        print(
            v.recipe.name,
            v.verdict.status,
            v.verdict.reasons,
            v.artifact and v.artifact.size_bytes,
            v.verdict.accuracy,
            v.verdict.worst_snr_db,
            v.verdict.divergence,
            v.verdict.loads,
        )
