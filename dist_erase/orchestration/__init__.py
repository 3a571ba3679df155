"""Ways to start the same loop: Ray and the deepspeed launcher."""
