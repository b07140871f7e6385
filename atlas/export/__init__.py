"""Parts of an atlas as files: Parquet and figures."""
