"""A vision transformer whose tensors are called, shaped and ordered as in timm's VisionTransformer: class token in
front, learned positions, layer norm of epsilon 1e-6 before attention and before the dense layers, one linear layer for
query, key and value."""
import torch
from torch import nn
from torch.nn import functional as F

EPSILON = 1e-6


class PatchEmbed(nn.Module):
    def __init__(self, patch, hidden):
        super().__init__()
        self.proj = nn.Conv2d(3, hidden, patch, patch)

    def forward(self, images):
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)

    def forward(self, x):
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2))
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        return self.proj((scores.softmax(3) @ value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, hidden, mlp):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(hidden, mlp), nn.Linear(mlp, hidden)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, hidden, heads, mlp):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(hidden, EPSILON), Attention(hidden, heads)
        self.norm2, self.mlp = nn.LayerNorm(hidden, EPSILON), Mlp(hidden, mlp)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TimmVit(nn.Module):
    def __init__(self, size, classes, patch, layers, heads, hidden, mlp):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, hidden))
        self.patch_embed = PatchEmbed(patch, hidden)
        self.blocks = nn.Sequential(*(Block(hidden, heads, mlp) for _ in range(layers)))
        self.norm = nn.LayerNorm(hidden, EPSILON)
        self.head = nn.Linear(hidden, classes)

    def forward(self, images):
        patches = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])
