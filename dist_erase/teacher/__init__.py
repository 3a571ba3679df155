"""The frozen original model: in process or as a pool of Ray actors."""
