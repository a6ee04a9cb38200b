"""Orthogonal wavelets, Daubechies (1992), "Ten Lectures on Wavelets", chapters 6 and 8.

The low-pass filter h of N taps has sum sqrt(2), is orthogonal to itself shifted by every even
number, and its high-pass mirror has N / 2 vanishing moments. Hence filtering with h while
enlarging twice, and with its mirror image while shrinking again, changes nothing at all.
"""

import numpy as np

SYM2 = np.array([1 + 3**0.5, 3 + 3**0.5, 3 - 3**0.5, 1 - 3**0.5]) / (4 * 2**0.5)

# The least asymmetric filter of 12 taps.
SYM6 = np.array(
    [
        0.015404109327027373,
        0.0034907120842174702,
        -0.11799011114819057,
        -0.048311742585633,
        0.4910559419267466,
        0.787641141030194,
        0.3379294217276218,
        -0.07263752278646252,
        -0.021060292512300564,
        0.04472490177066578,
        0.0017677118642428036,
        -0.007800708325034148,
    ]
)
