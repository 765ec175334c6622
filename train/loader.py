import numpy as np
from pythae.data.datasets import DatasetOutput
from train.dataset import to_unit
def epoch_order(seed, epoch, count):
    return np.random.default_rng([seed, epoch]).permutation(count)
class BatchLoader:
    def __init__(self, dataset, batch_size, device, seed):
        self.dataset, self.batch_size, self.device, self.seed = dataset, batch_size, device, seed
    def __len__(self): return -(-len(self.dataset)//self.batch_size)
    def order(self, epoch):
        n=len(self.dataset)
        return np.arange(n) if self.seed is None else np.random.default_rng([self.seed, epoch]).permutation(n)
    def indices(self, epoch, step): return self.order(epoch)[step*self.batch_size:(step+1)*self.batch_size]
    def batches(self, epoch, start=0):
        o=self.order(epoch)
        for s in range(start, len(self)):
            yield DatasetOutput(data=to_unit(self.dataset.images[o[s*self.batch_size:(s+1)*self.batch_size]]).to(self.device))
    def __iter__(self): return self.batches(1)
