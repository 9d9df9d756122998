"""Being written."""
def figures(run_dir):
    return []
