"""Attacks in plain PyTorch, written from their formulas: the independent references of tests/golden/make_attacks.py, and
what compare_attacks.py measures this project against.

Images x [n,c,h,w] in [0, 1], labels y [n]; radii and steps in pixel units. `model` maps images to logits [n,k]; it is in
eval mode and its weights need no gradients. Losses are per image and summed, never averaged. Runs with PyTorch 1.13 and
newer, in any floating-point type.
"""
import math

import torch
from torch.nn import functional as F


# Losses, one value an image, made large by the attack -------------------------------------------------------------


def cross_entropy(z, y):
    return F.cross_entropy(z, y, reduction="none")


def margin(z, y):
    """The best other logit above the label's: positive where the image is taken for another class."""
    others = z.scatter(1, y[:, None], -math.inf)
    return others.amax(1) - z.gather(1, y[:, None])[:, 0]


def dlr(z, y):
    """Croce & Hein 2020, eq. (6); with two classes there is no third logit, and the margin is left undivided."""
    if z.shape[1] == 2:
        return margin(z, y)
    top = z.topk(3, dim=1).values
    return margin(z, y) / (top[:, 0] - top[:, 2] + 1e-12)


# What the attacks share -------------------------------------------------------------------------------------------


def differentiate(model, x, y, loss=cross_entropy):
    """Gradient of the summed loss, loss [n], logits [n,k]."""
    x = x.detach().requires_grad_(True)
    logits = model(x)
    value = loss(logits, y)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return gradient, value.detach(), logits.detach()


def input_gradient(model, x, y):
    return differentiate(model, x, y)[0]


def per_image(values):
    """[n] to [n,1,1,1]."""
    return values.reshape(-1, 1, 1, 1)


def l2(x):
    return x.flatten(1).norm(dim=1)


def project_linf(adversarial, x, eps):
    return torch.clamp(torch.clamp(adversarial, x - eps, x + eps), 0, 1)


def project_l2(adversarial, x, eps):
    delta = adversarial - x
    return torch.clamp(x + delta * per_image(torch.clamp(eps / l2(delta).clamp_min(1e-30), max=1)), 0, 1)


# Gradient attacks -------------------------------------------------------------------------------------------------


def fgsm(model, x, y, eps):
    return torch.clamp(x + eps * input_gradient(model, x, y).sign(), 0, 1)


def pgd(model, x, y, eps, alpha, steps, start=None):
    """Madry et al. 2018, eq. (2); without a start BIM."""
    adversarial = x if start is None else start
    for _ in range(steps):
        adversarial = project_linf(adversarial + alpha * input_gradient(model, adversarial, y).sign(), x, eps)
    return adversarial


def uniform_start(x, eps):
    return torch.clamp(x + torch.empty_like(x).uniform_(-eps, eps), 0, 1)


def momentum_attack(model, x, y, eps, alpha, steps, mu, estimate):
    """The frame of the transfer attacks: m accumulates gradients of mean absolute value 1."""
    adversarial, m = x, torch.zeros_like(x)
    for _ in range(steps):
        gradient = estimate(model, adversarial, y, m)
        size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
        m = mu * m + torch.where(size > 0, gradient / size, torch.zeros_like(gradient))
        adversarial = project_linf(adversarial + alpha * m.sign(), x, eps)
    return adversarial


def mifgsm(model, x, y, eps, alpha, steps, mu=1.0):
    """Dong et al. 2018."""
    return momentum_attack(model, x, y, eps, alpha, steps, mu, lambda f, a, labels, m: input_gradient(f, a, labels))


def nifgsm(model, x, y, eps, alpha, steps, mu=1.0):
    """Lin et al. 2020: the gradient where the momentum is about to lead."""
    return momentum_attack(model, x, y, eps, alpha, steps, mu,
                           lambda f, a, labels, m: input_gradient(f, a + alpha * mu * m, labels))


def gaussian_kernel(size, sigmas=3.0):
    """[size,size], sum 1: the normal density from -sigmas to sigmas in both directions."""
    u = torch.linspace(-sigmas, sigmas, size, dtype=torch.float64) if size > 1 else torch.zeros(1, dtype=torch.float64)
    weights = torch.exp(-u * u / 2)
    weights = weights / weights.sum()
    return torch.outer(weights, weights)


def tifgsm(model, x, y, eps, alpha, steps, mu=1.0, kernel=15):
    """Dong et al. 2019: the gradient is smoothed before it is accumulated."""
    channels = x.shape[1]
    weights = gaussian_kernel(kernel).to(x.dtype).expand(channels, 1, kernel, kernel).contiguous()

    def smoothed(f, a, labels, m):
        return F.conv2d(input_gradient(f, a, labels), weights, padding=kernel // 2, groups=channels)

    return momentum_attack(model, x, y, eps, alpha, steps, mu, smoothed)


def sifgsm(model, x, y, eps, alpha, steps, mu=1.0, copies=5):
    """Lin et al. 2020: the mean loss of the copies x / 2^i."""

    def of_scales(f, a, labels, m):
        a = a.detach().requires_grad_(True)
        loss = sum(cross_entropy(f(a / 2**i), labels).sum() for i in range(copies)) / copies
        return torch.autograd.grad(loss, a)[0]

    return momentum_attack(model, x, y, eps, alpha, steps, mu, of_scales)


# APGD -------------------------------------------------------------------------------------------------------------


def checkpoints(steps):
    """How many iterations each window of APGD has: 22 %, then 3 % less each time, at least 6 %."""
    window, least, less = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    at = window
    while at <= steps:
        yield at
        window = max(window - less, least)
        at += window


def apgd(model, x, y, eps, steps, start, loss=cross_entropy, rho=0.75):
    """Croce & Hein 2020, algorithm 1, in L-infinity. Returns the iterate of the largest loss, and the first and the last
    misclassified ones (the start where there is none)."""
    iterate = old = start
    gradient, value, logits = differentiate(model, iterate, y, loss)
    best, best_value, best_gradient = iterate.clone(), value.clone(), gradient.clone()
    fooled = logits.argmax(1) != y
    first, last = start.clone(), start.clone()
    eta = torch.full_like(value, 2 * eps)
    reduced, best_at_check = torch.ones_like(fooled), best_value.clone()
    rises, ends, since = torch.zeros_like(value), set(checkpoints(steps)), 0
    for i in range(steps):
        a, momentum = (0.75 if i else 1.0), iterate - old
        old = iterate
        u = project_linf(iterate + per_image(eta) * gradient.sign(), x, eps)
        iterate = project_linf(iterate + a * (u - iterate) + (1 - a) * momentum, x, eps)
        before = value
        gradient, value, logits = differentiate(model, iterate, y, loss)
        wrong = logits.argmax(1) != y
        first = torch.where(per_image(wrong & ~fooled), iterate, first)
        last = torch.where(per_image(wrong), iterate, last)
        fooled = fooled | wrong
        rises, since = rises + (value > before), since + 1
        higher = value > best_value
        best = torch.where(per_image(higher), iterate, best)
        best_gradient = torch.where(per_image(higher), gradient, best_gradient)
        best_value = torch.where(higher, value, best_value)
        if i + 1 in ends:
            halve = (rises <= rho * since) | (~reduced & (best_value <= best_at_check))
            eta = torch.where(halve, eta / 2, eta)
            iterate = torch.where(per_image(halve), best, iterate)
            gradient = torch.where(per_image(halve), best_gradient, gradient)
            reduced, best_at_check = halve, best_value.clone()
            rises, since = torch.zeros_like(rises), 0
    return {"best": best, "best_loss": best_value, "first": first, "last": last, "fooled": fooled}


# Minimum-norm attacks ---------------------------------------------------------------------------------------------


def logits_and_gradients(model, x, classes):
    """Logits [n,k], and d z_c / d x for each of the classes [n,m]: [n,m,c,h,w]."""
    x = x.detach().requires_grad_(True)
    logits = model(x)
    rows = [torch.autograd.grad(logits.gather(1, classes[:, j : j + 1]).sum(), x, retain_graph=True)[0]
            for j in range(classes.shape[1])]
    return logits.detach(), torch.stack(rows, 1)


def deepfool(model, x, steps=50, overshoot=0.02, candidates=10):
    """Moosavi-Dezfooli et al. 2016, algorithm 2, L2. Returns the images, limited to [0, 1] at the end, and how many
    steps each took."""
    with torch.no_grad():
        clean = model(x)
    order = clean.topk(min(candidates, clean.shape[1]), dim=1).indices
    total, taken = torch.zeros_like(x), torch.zeros(len(x), dtype=torch.long)
    adversarial, active = x.clone(), torch.arange(len(x))
    for _ in range(steps):
        logits, gradients = logits_and_gradients(model, adversarial[active], order[active])
        going = logits.argmax(1) == order[active, 0]
        active, logits, gradients = active[going], logits[going], gradients[going]
        if len(active) == 0:
            break
        z = logits.gather(1, order[active])
        w, f = gradients[:, 1:] - gradients[:, :1], (z[:, 1:] - z[:, :1]).abs()
        norms = w.flatten(2).norm(dim=2)
        nearest = (f / norms).argmin(1)
        rows = torch.arange(len(active))
        f, norms, w = f[rows, nearest], norms[rows, nearest], w[rows, nearest]
        total[active] += per_image((f + 1e-4) / norms**2) * w
        taken[active] += 1
        adversarial[active] = x[active] + (1 + overshoot) * total[active]
    return torch.clamp(adversarial, 0, 1), taken


def project_on_hyperplane(x, w, b, norm):
    """The point of {v in [0, 1]^D : <w, v> = b} that is nearest to x [n,D] in the norm (Croce & Hein 2020, section 3.2),
    found by sorting; the nearest corner in that direction where the hyperplane misses the box."""
    missing = b - (w * x).sum(1)
    direction = torch.sign(missing[:, None] * w)
    room = torch.where(direction > 0, 1 - x, x)
    steep = w.abs()
    live = steep >= 1e-8
    room = torch.where(live, room, torch.zeros_like(room))
    wanted = torch.minimum(missing.abs(), (steep * room).sum(1))
    if norm == "l1":  # the steepest coordinates go all the way, in turn
        order = steep.argsort(dim=1, descending=True)
        gains = (steep * room).gather(1, order)
        before = gains.cumsum(1) - gains
        moved = ((wanted[:, None] - before).clamp_min(0).minimum(gains) / steep.gather(1, order).clamp_min(1e-8))
        return x + direction * torch.zeros_like(x).scatter(1, order, moved)
    # Coordinate i moves by min(t rate_i, room_i); the gain sum |w_i| min(t rate_i, room_i) rises with t, piecewise
    # linearly, and is solved for t between two of its corners.
    rate = torch.where(live, torch.ones_like(w) if norm == "linf" else steep, torch.zeros_like(w))
    corners, order = torch.where(live, room / rate.clamp_min(1e-8), torch.zeros_like(w)).sort(dim=1)
    slopes, full = (steep * rate).gather(1, order), (steep * room).gather(1, order)
    slope_after = slopes.flip(1).cumsum(1).flip(1) - slopes  # of those that have not arrived at corner i
    gain_at = full.cumsum(1) + corners * slope_after
    index = (gain_at < wanted[:, None]).sum(1, keepdim=True).clamp_max(w.shape[1] - 1)
    slope = slope_after.gather(1, index) + slopes.gather(1, index)
    t = corners.gather(1, index) - (gain_at.gather(1, index) - wanted[:, None]) / slope.clamp_min(1e-30)
    return x + direction * torch.minimum(t * rate, room)


def carlini_wagner(model, x, y, c, steps, lr=0.01, kappa=0.0):
    """Carlini & Wagner 2017 with one constant c: Adam on w, x' = (tanh w + 1) / 2, of |x' - x|^2 + c max(0, z_y -
    max other + kappa). Returns the nearest success of each image (x where there is none) and its L2 distance (inf)."""
    w = torch.atanh((2 * x - 1) * 0.999999).requires_grad_(True)
    optimizer = torch.optim.Adam([w], lr=lr)
    best, distance = x.clone(), torch.full((len(x),), math.inf, dtype=x.dtype)
    for _ in range(steps):
        candidate = (torch.tanh(w) + 1) / 2
        logits = model(candidate)
        squared = (candidate - x).flatten(1).square().sum(1)
        lead = -margin(logits, y)
        with torch.no_grad():
            better = (lead < -kappa if kappa > 0 else logits.argmax(1) != y) & (squared.sqrt() < distance)
            best = torch.where(per_image(better), candidate, best)
            distance = torch.where(better, squared.sqrt(), distance)
        optimizer.zero_grad(set_to_none=True)
        (squared + c * (lead + kappa).clamp_min(0)).sum().backward()
        optimizer.step()
    return best.detach(), distance


# Score-based attack -----------------------------------------------------------------------------------------------


def square_side(query, queries, height, width, p_init=0.8):
    """Side of the window of one query: its share of the image is halved at fixed points of a budget of 10000."""
    at = query * 10000 // queries
    halvings = sum(at > limit for limit in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
    side = round(math.sqrt(p_init / 2**halvings * height * width))
    return min(max(side, 1), min(height, width))


@torch.no_grad()
def square(model, x, y, eps, queries, p_init=0.8, stop=False):
    """Andriushchenko et al. 2020, L-infinity: a window of every image gets new signs; kept where the margin shrinks.
    Without `stop` every image is queried `queries` times, fooled or not; with it only those that stand."""
    n, channels, height, width = x.shape

    def signs(*shape):
        return torch.randint(0, 2, shape, dtype=x.dtype).mul_(2).sub_(1)

    adversarial = torch.clamp(x + eps * signs(n, channels, 1, width), 0, 1)
    lead = -margin(model(adversarial), y)
    rows, columns = torch.arange(height).reshape(1, 1, -1, 1), torch.arange(width).reshape(1, 1, 1, -1)
    active = slice(None)
    for query in range(queries - 1):
        if stop:
            active = (lead > 0).nonzero()[:, 0]
            if len(active) == 0:
                break
        clean, current, labels = x[active], adversarial[active], y[active]
        side = square_side(query, queries, height, width, p_init)
        top = torch.randint(0, height - side + 1, (len(labels), 1, 1, 1))
        left = torch.randint(0, width - side + 1, (len(labels), 1, 1, 1))
        window = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        shifted = torch.clamp(clean + eps * signs(len(labels), channels, 1, 1), 0, 1)
        candidate = torch.where(window, shifted, current)
        new = -margin(model(candidate), labels)
        better = new < lead[active]
        adversarial[active] = torch.where(per_image(better), candidate, current)
        lead[active] = torch.where(better, new, lead[active])
    return adversarial
