// SPDX-License-Identifier: Apache-2.0
// DigestTable; see digest_table.py, which says what it is for and does the same without this file.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64, DIGEST = 32, BESIDE = 3, FIRST_SLOTS = 256 };

struct slot { // one line of the processor's cache
    unsigned char digest[DIGEST];
    PyObject *value, *beside[BESIDE]; // no value: empty
};

typedef struct {
    PyObject_HEAD
    struct slot *slots; // 2^n of them, at most half of them used
    size_t mask, used;
} Table;

// --- slots

static size_t place_of(const unsigned char *digest) {
    size_t place; // a digest is a hash already
    memcpy(&place, digest, sizeof place);
    return place;
}

static struct slot *slot_of(struct slot *slots, size_t mask, const unsigned char *digest) {
    for (size_t place = place_of(digest);; place++) {
        struct slot *slot = &slots[place & mask];
        if (!slot->value || !memcmp(slot->digest, digest, DIGEST)) return slot;
    }
}

static struct slot *new_slots(size_t count) {
    struct slot *slots = aligned_alloc(LINE, count * sizeof *slots);
    if (!slots) {
        PyErr_NoMemory();
        return NULL;
    }
    return memset(slots, 0, count * sizeof *slots);
}

static void drop_slots(struct slot *slots, size_t mask) {
    for (size_t i = 0; slots && i <= mask; i++) {
        for (int j = 0; j < BESIDE; j++) Py_XDECREF(slots[i].beside[j]);
        Py_XDECREF(slots[i].value);
    }
    free(slots);
}

static int grow(Table *self) {
    size_t mask = self->mask * 2 + 1;
    struct slot *slots = new_slots(mask + 1);
    if (!slots) return -1;
    for (size_t i = 0; i <= self->mask; i++)
        if (self->slots[i].value) *slot_of(slots, mask, self->slots[i].digest) = self->slots[i];
    free(self->slots);
    self->slots = slots;
    self->mask = mask;
    return 0;
}

// NULL, without an exception: this is none.
static const unsigned char *digest_in(PyObject *object) {
    return PyBytes_CheckExact(object) && PyBytes_GET_SIZE(object) == DIGEST ? (unsigned char *)PyBytes_AS_STRING(object) : NULL;
}

// --- the type

static PyObject *table_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    static char *none[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, names, ":DigestTable", none)) return NULL;
    Table *self = (Table *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->mask = FIRST_SLOTS - 1;
    self->slots = new_slots(FIRST_SLOTS);
    if (!self->slots) Py_CLEAR(self);
    return (PyObject *)self;
}

static int table_traverse(Table *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    for (size_t i = 0; self->slots && i <= self->mask; i++) {
        Py_VISIT(self->slots[i].value);
        for (int j = 0; j < BESIDE; j++) Py_VISIT(self->slots[i].beside[j]);
    }
    return 0;
}

// What is dropped may run code that comes back here: it finds an empty table.
static int table_empty(Table *self) {
    struct slot *slots = self->slots;
    size_t mask = self->mask;
    struct slot *empty = new_slots(FIRST_SLOTS);
    if (!empty) return -1;
    self->slots = empty;
    self->mask = FIRST_SLOTS - 1;
    self->used = 0;
    drop_slots(slots, mask);
    return 0;
}

static int table_break_cycles(Table *self) {
    if (table_empty(self)) PyErr_Clear();
    return 0;
}

static void table_dealloc(Table *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    drop_slots(self->slots, self->mask);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t table_length(Table *self) { return (Py_ssize_t)self->used; }

static PyObject *table_clear(Table *self, PyObject *none) {
    (void)none;
    if (table_empty(self)) return NULL;
    Py_RETURN_NONE;
}

static PyObject *table_put(Table *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count < 2 || count > 2 + BESIDE) {
        PyErr_SetString(PyExc_TypeError, "put(digest, value, *beside): at most three objects beside the value");
        return NULL;
    }
    const unsigned char *digest = digest_in(arguments[0]);
    if (!digest) {
        PyErr_SetString(PyExc_ValueError, "a digest is 32 bytes");
        return NULL;
    }
    struct slot *slot = slot_of(self->slots, self->mask, digest);
    if (!slot->value) {
        if ((self->used + 1) * 2 > self->mask + 1) {
            if (grow(self)) return NULL;
            slot = slot_of(self->slots, self->mask, digest);
        }
        self->used++;
    }
    struct slot before = *slot;
    memcpy(slot->digest, digest, DIGEST);
    slot->value = Py_NewRef(arguments[1]);
    for (int i = 0; i < BESIDE; i++) slot->beside[i] = i + 2 < count ? Py_NewRef(arguments[i + 2]) : NULL;
    // Last, as it may run code that comes back here.
    for (int i = 0; i < BESIDE; i++) Py_XDECREF(before.beside[i]);
    Py_XDECREF(before.value);
    Py_RETURN_NONE;
}

static PyObject *table_get(Table *self, PyObject *object) {
    const unsigned char *digest = digest_in(object);
    PyObject *value = digest ? slot_of(self->slots, self->mask, digest)->value : NULL;
    return Py_NewRef(value ? value : Py_None);
}

static PyObject *table_prefetch_slot(Table *self, PyObject *object) {
    const unsigned char *digest = digest_in(object);
    if (digest) __builtin_prefetch(&self->slots[place_of(digest) & self->mask]);
    Py_RETURN_NONE;
}

static void prefetch_object(PyObject *object) {
    for (int i = 0; object && i < 3; i++) __builtin_prefetch((char *)object + i * LINE);
}

static PyObject *table_prefetch_value(Table *self, PyObject *object) {
    const unsigned char *digest = digest_in(object);
    if (digest) {
        const struct slot *slot = slot_of(self->slots, self->mask, digest);
        prefetch_object(slot->value);
        for (int i = 0; i < BESIDE; i++) prefetch_object(slot->beside[i]);
    }
    Py_RETURN_NONE;
}

static PyMethodDef table_methods[] = {
    {"put", (PyCFunction)(void (*)(void))table_put, METH_FASTCALL, NULL},
    {"get", (PyCFunction)table_get, METH_O, NULL},
    {"prefetch_slot", (PyCFunction)table_prefetch_slot, METH_O, NULL},
    {"prefetch_value", (PyCFunction)table_prefetch_value, METH_O, NULL},
    {"clear", (PyCFunction)table_clear, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_type_slots[] = {
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_traverse, table_traverse},
    {Py_tp_clear, table_break_cycles},
    {Py_tp_methods, table_methods},
    {Py_sq_length, table_length},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "llm_gateway.callers._digest_table.DigestTable",
    .basicsize = sizeof(Table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = table_type_slots,
};

// --- the module

static int execute(PyObject *module) {
    PyObject *type = PyType_FromSpec(&table_spec);
    if (!type) return -1;
    int failed = PyModule_AddObjectRef(module, "DigestTable", type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_digest_table", .m_slots = module_slots};

PyMODINIT_FUNC PyInit__digest_table(void) { return PyModuleDef_Init(&definition); }
