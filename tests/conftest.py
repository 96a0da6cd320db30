import os

os.environ['OMP_NUM_THREADS'] = '1'  # before torch: small models on few cores lose more to thread start-up than they gain
