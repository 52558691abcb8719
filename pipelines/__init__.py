"""The workflow: Ray, WebDataset, fsspec, pyarrow and MLflow, each through one file."""
