"""The jobs: the only place that joins the parts. One file a job; the CLI and the API call these."""
