"""The z-buffer of `rasterizer.triangle_ids` as machine code for the CPU; the same ids bit for bit.

Most triangles of a dense mesh contain no pixel centre, so a first loop rejects them by their box and their
turn; a second finds weights and depth at the first pixel of what remains, which for most is the only one.
Both run over blocks that stay in the cache and do the same for every triangle, without branches, so that the
compiler puts eight of them into one instruction; so do the rows of larger triangles with eight pixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.geometry.compiled import compiled, for_images, images_of

SNAP = 4096  # steps per pixel, a power of two
SNAP_BITS = 12
GUARD = 8192 * SNAP
FINITE = 3.4028235e38  # the largest float32
UNUSABLE = -(2**63)  # in place of a vertex that is not finite or beyond the guard
EMPTY_KEY = -(2**63)
LARGEST_ID = 2**31 - 1
LOW_HALF = 2**32 - 1
BLOCK = 512  # triangles
LANES = 8  # pixels


def triangle_ids_numba(projected: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """(N, H, W) int64 ids of float32 `projected` (N, V, 3) on the CPU, by the rules of `rasterizer`."""
    ids = torch.empty(len(projected), height, width, dtype=torch.int64)
    positions, corners, keys = images_of(projected), triangles.contiguous().numpy(), images_of(ids.flatten(1))

    def draw(image: int) -> None:
        draw_keys(positions[image], corners, height, width, keys[image])
        compiled(ids_of_keys)(keys[image])

    for_images(draw, len(ids))
    return ids


def draw_keys(
    projected: NDArray[np.float32],  # (V, 3)
    triangles: NDArray[np.int64],  # (F, 3)
    height: int,
    width: int,
    keys: NDArray[np.int64],  # (H·W,), written
) -> None:
    """The key, depth | -id, of the nearest front-facing triangle at every pixel, EMPTY_KEY where none is."""
    places = np.empty(len(projected), np.int64)
    kept, number = np.empty(len(triangles) + 1, np.int32), np.empty(1, np.int64)
    compiled(snap_vertices)(projected, places)
    compiled(select_triangles)(triangles, places, height, width, kept, number)
    compiled(fill_keys)(projected, triangles, places, kept[: number[0]], height, width, keys)


def snap_vertices(projected: np.ndarray, places: np.ndarray) -> None:
    """Write each vertex's snapped column and row, as the upper and the lower half of one number."""
    for vertex in range(len(places)):
        column = np.rint(projected[vertex, 0] * np.float32(SNAP))
        row = np.rint(projected[vertex, 1] * np.float32(SNAP))
        near = (abs(column) <= np.float32(GUARD)) & (abs(row) <= np.float32(GUARD))
        usable = near & (abs(projected[vertex, 2]) <= np.float32(FINITE))
        # not a number must not become a whole one: what that gives is undefined
        column, row = (column, row) if usable else (np.float32(0), np.float32(0))
        place = (np.int64(np.int32(column)) << 32) | (np.int64(np.int32(row)) & LOW_HALF)
        places[vertex] = place if usable else UNUSABLE


def select_triangles(
    triangles: np.ndarray, places: np.ndarray, height: int, width: int, kept: np.ndarray, number: np.ndarray
) -> None:
    """Write the ids, ascending, of front faces whose box contains a pixel centre, and how many they are."""
    up, bits, zero = np.int32(SNAP - 1), np.int32(SNAP_BITS), np.int32(0)
    last_column, last_row = np.int32(width - 1), np.int32(height - 1)
    first, second, third = np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.int64)
    seen = np.empty(BLOCK, np.uint8)
    count = 0
    for start in range(0, len(triangles), BLOCK):
        size = min(BLOCK, len(triangles) - start)
        for k in range(size):
            first[k] = places[np.uint64(triangles[start + k, 0])]
            second[k] = places[np.uint64(triangles[start + k, 1])]
            third[k] = places[np.uint64(triangles[start + k, 2])]
        for k in range(BLOCK):
            a, b, c = first[k], second[k], third[k]
            ax, bx, cx = np.int32(a >> 32), np.int32(b >> 32), np.int32(c >> 32)
            ay, by, cy = np.int32(a), np.int32(b), np.int32(c)
            left = max((min(min(ax, bx), cx) + up) >> bits, zero)
            right = min(max(max(ax, bx), cx) >> bits, last_column)
            top = max((min(min(ay, by), cy) + up) >> bits, zero)
            bottom = min(max(max(ay, by), cy) >> bits, last_row)
            twice_area = np.float64(ax - bx) * np.float64(cy - by) - np.float64(ay - by) * np.float64(cx - bx)
            usable = np.uint8(a != UNUSABLE) & np.uint8(b != UNUSABLE) & np.uint8(c != UNUSABLE)
            seen[k] = usable & np.uint8(left <= right) & np.uint8(top <= bottom) & np.uint8(twice_area > 0)
        for k in range(size):
            kept[count] = start + k
            count += seen[k]
    number[0] = count


def fill_keys(
    projected: np.ndarray,
    triangles: np.ndarray,
    places: np.ndarray,
    kept: np.ndarray,
    height: int,
    width: int,
    keys: np.ndarray,
) -> None:
    """Write the keys (H·W,) of one image, drawn from the triangles `kept`; the largest of a pixel wins.

    Keys are those of the torch twin. Edge functions are whole numbers under 2^53, so float64 is
    exact and their values at a pixel do not depend on where one starts to count.
    """

    def key(  # type: ignore[no-untyped-def]  # numba takes it apart at every call
        weight_a, weight_b, weight_c, least_a, least_b, least_c, za, zb, zc, twice_area, face
    ):
        # adding 0 turns -0 into 0
        depth = np.float32((weight_a * za + weight_b * zb + weight_c * zc) / twice_area) + np.float32(0)
        bits = np.float32(depth).view(np.int32)
        sortable = bits ^ ((bits >> np.int32(31)) & np.int32(LARGEST_ID))
        inside = (weight_a >= least_a) & (weight_b >= least_b) & (weight_c >= least_c)
        return ((np.int64(sortable) << 32) | (LARGEST_ID - face)) if inside else EMPTY_KEY

    up, bits, zero = np.int32(SNAP - 1), np.int32(SNAP_BITS), np.int32(0)
    last_column, last_row = np.int32(width - 1), np.int32(height - 1)
    lanes = min(LANES, width)
    keys[:] = EMPTY_KEY
    # Two arrays only: that rows of one do not overlap the compiler knows, of many arrays it would not try.
    whole = np.zeros((5, BLOCK), np.int64)  # corners a, b, c (then: columns, rows of the box), id, key
    table = np.ones((16, BLOCK), np.float64)
    for start in range(0, len(kept), BLOCK):
        size = min(BLOCK, len(kept) - start)
        for k in range(size):
            face = np.uint64(kept[start + k])
            whole[3, k] = np.int64(face)
            for corner in range(3):
                vertex = np.uint64(triangles[face, corner])
                whole[corner, k] = places[vertex]
                table[corner, k] = projected[vertex, 2]
        for k in range(size):
            a, b, c = whole[0, k], whole[1, k], whole[2, k]
            ax, bx, cx = np.int32(a >> 32), np.int32(b >> 32), np.int32(c >> 32)
            ay, by, cy = np.int32(a), np.int32(b), np.int32(c)
            left = max((min(min(ax, bx), cx) + up) >> bits, zero)
            right = min(max(max(ax, bx), cx) >> bits, last_column)
            top = max((min(min(ay, by), cy) + up) >> bits, zero)
            bottom = min(max(max(ay, by), cy) >> bits, last_row)
            x, y = left << bits, top << bits
            # Edges c→b, a→c and b→a, zero opposite a, b and c. A pixel centre exactly on an edge belongs to
            # the triangle that walks it downwards.
            across_a, down_a = np.float64(bx - cx), np.float64(by - cy)
            across_b, down_b = np.float64(cx - ax), np.float64(cy - ay)
            across_c, down_c = np.float64(ax - bx), np.float64(ay - by)
            weight_a = across_a * np.float64(y - cy) - down_a * np.float64(x - cx)
            weight_b = across_b * np.float64(y - ay) - down_b * np.float64(x - ax)
            weight_c = across_c * np.float64(y - by) - down_c * np.float64(x - bx)
            least_a = 1.0 - np.float64((down_a > 0) | ((down_a == 0) & (across_a > 0)))
            least_b = 1.0 - np.float64((down_b > 0) | ((down_b == 0) & (across_b > 0)))
            least_c = 1.0 - np.float64((down_c > 0) | ((down_c == 0) & (across_c > 0)))
            twice_area = across_a * down_c - down_a * across_c
            za, zb, zc = table[0, k], table[1, k], table[2, k]
            whole[4, k] = key(
                weight_a, weight_b, weight_c, least_a, least_b, least_c, za, zb, zc, twice_area, whole[3, k]
            )
            whole[0, k] = (np.int64(left) << 32) | np.int64(right)
            whole[1, k] = (np.int64(top) << 32) | np.int64(bottom)
            table[3, k], table[4, k], table[5, k] = weight_a, weight_b, weight_c
            table[6, k], table[7, k], table[8, k] = across_a, across_b, across_c
            table[9, k], table[10, k], table[11, k] = down_a, down_b, down_c
            table[12, k], table[13, k], table[14, k] = least_a, least_b, least_c
            table[15, k] = twice_area
        for k in range(size):
            left, right = whole[0, k] >> 32, whole[0, k] & LOW_HALF
            top, bottom = whole[1, k] >> 32, whole[1, k] & LOW_HALF
            if left == right and top == bottom:
                pixel = top * width + left
                keys[pixel] = max(keys[pixel], whole[4, k])
                continue
            za, zb, zc, face, twice_area = table[0, k], table[1, k], table[2, k], whole[3, k], table[15, k]
            across_a, across_b, across_c = table[6, k], table[7, k], table[8, k]
            down_a, down_b, down_c = table[9, k], table[10, k], table[11, k]
            least_a, least_b, least_c = table[12, k], table[13, k], table[14, k]
            for leftmost in range(left, right + 1, LANES):
                column = min(leftmost, width - lanes)  # pixels outside the box are outside the triangle
                right_of_left = np.float64((column - left) * SNAP)
                for row in range(top, bottom + 1):
                    below_top = np.float64((row - top) * SNAP)
                    start_a = table[3, k] + across_a * below_top - down_a * right_of_left
                    start_b = table[4, k] + across_b * below_top - down_b * right_of_left
                    start_c = table[5, k] + across_c * below_top - down_c * right_of_left
                    line = keys[row * width + column :]
                    for lane in range(lanes):
                        step = np.float64(np.int32(lane) * np.int32(SNAP))
                        weight_a = start_a - down_a * step
                        weight_b = start_b - down_b * step
                        weight_c = start_c - down_c * step
                        found = key(
                            weight_a,
                            weight_b,
                            weight_c,
                            least_a,
                            least_b,
                            least_c,
                            za,
                            zb,
                            zc,
                            twice_area,
                            face,
                        )
                        line[lane] = max(line[lane], found)


def ids_of_keys(keys: np.ndarray) -> None:
    """Put the triangle ids in the place of their keys, -1 where the key is empty."""
    for pixel in range(len(keys)):
        keys[pixel] = -1 if keys[pixel] == EMPTY_KEY else LARGEST_ID - (keys[pixel] & LOW_HALF)


def depths_of_keys(keys: np.ndarray, depth: np.ndarray) -> None:
    """Write the depths that keys (H·W,) hold into (H·W,) float32, -inf where the key is empty."""
    for pixel in range(len(keys)):
        sortable = np.int32(keys[pixel] >> 32)
        bits = sortable ^ ((sortable >> np.int32(31)) & np.int32(LARGEST_ID))
        depth[pixel] = -np.inf if keys[pixel] == EMPTY_KEY else np.int32(bits).view(np.float32)
