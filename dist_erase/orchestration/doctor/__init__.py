"""`dist-erase doctor`: what would stop or slow a run, found before it costs anything."""
