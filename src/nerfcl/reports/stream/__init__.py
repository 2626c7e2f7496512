"""Figures and tables of runs on streams of frames: PSNR of every frame and chunk over time."""
