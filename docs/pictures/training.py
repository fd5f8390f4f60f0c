"""How the network of the first steps was trained, and how good it is."""

from nets import BPClassifier, load_dataset

data = load_dataset("digits")
model = BPClassifier(hidden_layer_sizes=(101, 101), random_state=0).fit(data.X_train, data.y_train)
model.plot(data.X_test, data.y_test)
