"""The papers' own networks in PyTorch: the twins of nets/rdmaa.cpp, autoencoder.cpp, unet.cpp and cyclegan.cpp."""
import torch
from torch import nn
from torch.nn import functional as F


def ceil_to(side, multiple):
    return (side + multiple - 1) // multiple * multiple


def padded(x, multiple):
    height, width = x.shape[2:]
    return F.pad(x, (0, ceil_to(width, multiple) - width, 0, ceil_to(height, multiple) - height), mode="reflect")


def encoder(channels):
    layers = []
    for i in range(3):
        layers += [nn.Conv2d(channels if i == 0 else 64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers)


class Rdmaa(nn.Module):
    WIDTHS = {"rdmaa-lung": (128, 64), "rdmaa-leukemia": (256, 128, 64), "rdmaa-brain": (128,)}

    def __init__(self, name, channels, height, width, classes, dropout=0.5):
        super().__init__()
        self.encoder = encoder(channels)
        units, layers = 64 * (ceil_to(height, 8) // 8) * (ceil_to(width, 8) // 8), []
        for out in self.WIDTHS[name]:
            layers += [nn.Linear(units, out), nn.ReLU()]
            units = out
        if name == "rdmaa-leukemia":
            layers.append(nn.Dropout(dropout))
        self.sigmoid = name == "rdmaa-lung" and classes == 2
        self.classifier = nn.Sequential(*layers, nn.Linear(units, 1 if self.sigmoid else classes))

    def forward(self, x):
        y = self.classifier(torch.flatten(self.encoder(x), 1))
        return torch.cat([torch.zeros_like(y), y], 1) if self.sigmoid else y


class Dcae(nn.Module):
    def __init__(self, channels, height, width):
        super().__init__()
        self.encoder = encoder(channels)
        valid = [ceil_to(side, 4) % 8 != 0 for side in (height, width)]
        self.decoder = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(64, 16, 3, padding=[0 if v else 1 for v in valid]), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(16, channels, 3, padding=1), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(padded(x, 4)))[:, :, : x.shape[2], : x.shape[3]]


def conv_norm_relu(inputs, outputs, stride=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Autoencoder(nn.Module):
    def __init__(self, channels, height, width, units=128, bottleneck="dense"):
        super().__init__()
        widths = [channels, 32, 64, 128, 256]
        self.encoder = nn.Sequential(*[conv_norm_relu(a, b, 2) for a, b in zip(widths, widths[1:])])
        if bottleneck == "dense":
            shape = (256, ceil_to(height, 16) // 16, ceil_to(width, 16) // 16)
            size = shape[0] * shape[1] * shape[2]
            self.bottleneck = nn.Sequential(nn.Flatten(), nn.Linear(size, units), nn.Linear(units, size), nn.ReLU(),
                                            nn.Unflatten(1, shape))
        else:
            self.bottleneck = nn.Sequential(nn.Conv2d(256, units, 1), nn.Conv2d(units, 256, 1), nn.ReLU())
        widths = [256, 128, 64, 32, channels]
        layers = []
        for a, b in zip(widths, widths[1:]):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]
        self.decoder = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.bottleneck(self.encoder(padded(x, 16))))[:, :, : x.shape[2], : x.shape[3]]


class Unet(nn.Module):
    def __init__(self, channels):
        super().__init__()
        def stage(inputs, outputs, depth, stride):
            return nn.Sequential(*[conv_norm_relu(outputs if i else inputs, outputs, 1 if i else stride)
                                   for i in range(depth)])
        self.down1, self.down2 = stage(channels, 64, 2, 1), stage(64, 128, 3, 2)
        self.down3, self.down4, self.down5 = stage(128, 256, 3, 2), stage(256, 256, 3, 2), stage(256, 256, 3, 2)
        self.up4, self.up3 = stage(256 + 256, 256, 3, 1), stage(256 + 256, 256, 3, 1)
        self.up2, self.up1 = stage(256 + 128, 128, 3, 1), stage(128 + 64, 64, 2, 1)
        self.final = nn.Conv2d(64, channels, 1, bias=False)

    def forward(self, image):
        x, skips = 2 * image - 1, []
        for down in (self.down1, self.down2, self.down3, self.down4, self.down5):
            x = down(x)
            skips.append(x)
        for up, skip in zip((self.up4, self.up3, self.up2, self.up1), skips[-2::-1]):
            x = up(torch.cat([F.interpolate(x, size=skip.shape[2:], mode="bilinear"), skip], 1))
        return image + self.final(x) / 2


class GeneratorBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3), nn.InstanceNorm2d(256), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3), nn.InstanceNorm2d(256))

    def forward(self, x):
        return x + self.conv_block(x)


class Generator(nn.Module):
    def __init__(self, channels, height, width, blocks=0):
        super().__init__()
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, 64, 7), nn.InstanceNorm2d(64), nn.ReLU()]
        for out in (128, 256):
            layers += [nn.Conv2d(out // 2, out, 3, 2, 1), nn.InstanceNorm2d(out), nn.ReLU()]
        layers += [GeneratorBlock() for _ in range(int(blocks) or (9 if min(height, width) >= 180 else 6))]
        for out in (128, 64):
            layers += [nn.ConvTranspose2d(2 * out, out, 3, 2, 1, 1), nn.InstanceNorm2d(out), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(64, channels, 7), nn.Tanh())

    def forward(self, x):
        return (self.model(padded(2 * x - 1, 4))[:, :, : x.shape[2], : x.shape[3]] + 1) / 2


class PatchGan(nn.Module):
    def __init__(self, channels):
        super().__init__()
        layers = [nn.Conv2d(channels, 64, 4, 2, 1), nn.LeakyReLU(0.2)]
        for out in (128, 256, 512):
            layers += [nn.Conv2d(out // 2, out, 4, 2 if out < 512 else 1, 1), nn.InstanceNorm2d(out), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 1))

    def forward(self, x):
        return self.model(2 * x - 1)


NAMES = [*Rdmaa.WIDTHS, "dcae", "autoencoder", "unet", "cyclegan_generator", "patchgan"]


def make(name, channels, height, width, classes, **options):
    """`options` are the spec's keys."""
    if name in Rdmaa.WIDTHS:
        return Rdmaa(name, channels, height, width, classes, **options)
    if name == "dcae":
        return Dcae(channels, height, width)
    if name == "autoencoder":
        return Autoencoder(channels, height, width, int(options.get("units", 128)), options.get("bottleneck", "dense"))
    if name == "cyclegan_generator":
        return Generator(channels, height, width, **options)
    return {"unet": Unet, "patchgan": PatchGan}[name](channels)
