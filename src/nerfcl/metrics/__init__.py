"""PSNR, SSIM and contrast of images; average, backward transfer and forgetting of a matrix R."""
