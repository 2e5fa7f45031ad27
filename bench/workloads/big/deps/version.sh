# version 0
