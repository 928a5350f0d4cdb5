"""All that knows Jupyter, papermill, widgets and Dask: panels, records, and the series without a browser."""
