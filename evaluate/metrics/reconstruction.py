"""The metrics of a reconstruction by name; LPIPS, which needs weights, is `metrics.lpips`."""

from evaluate.metrics.bce import bce
from evaluate.metrics.gmsd import gmsd
from evaluate.metrics.mse import mse
from evaluate.metrics.psnr import psnr
from evaluate.metrics.ssim import ssim

RECONSTRUCTION = {"MSE": mse, "PSNR": psnr, "BCE": bce, "SSIM": ssim, "GMSD": gmsd}
