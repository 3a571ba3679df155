"""Writers that turn other layouts into webdataset shards."""
