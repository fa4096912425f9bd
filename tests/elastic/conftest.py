from elastic_fixtures import lab, own_lab, undisturbed

__all__ = ["lab", "own_lab", "undisturbed"]
